"""What may be asked for, as records with bounds, and how they are read from a multipart form, field by field.

Nothing is ignored: a field that is not known is refused by name. A file is bytes: its name and declared type are not
looked at, and a text where a file belongs (a path, an address) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from facefact.apps.service.api.problems import ApiError, of_fields
from facefact.apps.service.api.service import Limits
from facefact.demo import SCALE

LONGEST_TEXT = 4000  # letters of a prompt
MOST_SEED = 2**53 - 1  # what JSON carries through every program; with the count still below it
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
F = TypeVar("F", bound=BaseModel)


def _plain(text: str) -> str:
    if CONTROL.search(text):
        raise ValueError("a control character is in the text")
    return text


Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_plain)]
Words = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT), AfterValidator(_plain)]
Side = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]
Exact = Annotated[
    bool | None,
    Field(description="demo model: draw what the prompt says and no more; else what it leaves open is added in words"),
]
Format = Literal["png", "jpeg", "webp"]
# Of diffusers' schedulers those that every Stable Diffusion takes.
Scheduler = Literal[
    "DDIM",
    "DDPM",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2Discrete",
    "LCM",
    "PNDM",
    "TCD",
    "UniPCMultistep",
]
LORA_FILE = "a LoRA for this model, as safetensors, in place of `lora`; it is deleted with the photos"


class Picture(BaseModel):
    """What all kinds of jobs have; what is left out has the model's own default."""

    model_config = ConfigDict(extra="forbid")

    prompt: Words = Field(description="what to show")
    negative_prompt: Text | None = Field(None, description="what not to show")
    n: int = Field(1, ge=1, le=64, description="how many pictures, with the seeds seed, seed + 1, ...")
    seed: int | None = Field(None, ge=0, le=MOST_SEED, description="of the first picture (default 0)")
    steps: int | None = Field(None, ge=1, le=1000, description="denoising steps (default 25)")
    scale: float | None = Field(
        None, ge=0, le=3, description=f"how much the face counts, 0 is not at all (default 0.7, the demo model {SCALE})"
    )
    guidance_scale: float | None = Field(None, ge=0, le=50, description="how strictly to follow the prompt")
    face_guidance: bool | None = Field(
        None,
        description="whether guidance strengthens the face (default true, the demo model false); if not, take scale 1",
    )
    start: float | None = Field(None, ge=0, le=1, description="the face counts from this part of the noise schedule on")
    end: float | None = Field(None, ge=0, le=1, description="the face counts up to this part")
    local: bool | None = Field(None, description="work for the face's region only: cheaper")
    scheduler: Scheduler | None = Field(None, description="how the noise is taken away (default: the model's own)")
    lora: str | None = Field(
        None, pattern=r"^[^/\\\x00-\x1f]{1,120}\.safetensors$", description="the name of one of /v1/loras"
    )
    lora_weight: float | None = Field(None, ge=-4, le=4, description="how much the LoRA counts (default 1)")
    format: Format = Field("png", description="of the pictures; all carry their recipe")

    def settings(self) -> dict[str, Any]:
        """As the table of jobs has them: what was given, without the number of pictures."""
        said = self.model_dump(exclude_none=True, exclude={"n"})
        start, end = said.get("start", 0.0), said.get("end", 1.0)
        if start > end:
            raise ApiError(400, f"the face counts from start {start} to end {end}: start <= end", param="start")
        return said


class PortraitForm(Picture):
    """A portrait of one person."""

    width: Side | None = Field(None, description="pixels, a multiple of 8 (default: what the model is made for)")
    height: Side | None = None
    which: int | None = Field(None, ge=0, le=63, description="which face of a photo, 0 is the largest")
    exact_prompt: Exact = None
    style: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9-]{0,60}$", description="the name of one of /v1/styles")


class TemplateForm(Picture):
    """Faces of a picture become other people's."""

    which: int | None = Field(
        None, ge=0, le=63, description="with `face`: which face of the template, 0 is the largest"
    )
    shape: Literal["template", "person"] | None = Field(None, description="repaint in place, or the person's own head")
    region: Literal["face", "hair", "head"] | None = Field(None, description="what is repainted")
    strength: float | None = Field(None, gt=0, le=1, description="how much of the template is forgotten there")
    skin: bool | None = Field(None, description="whether neck and ears take the new face's colour")
    exact_prompt: Exact = None


class GroupForm(Picture):
    """Several people in one picture."""

    width: Side | None = None
    height: Side | None = None
    strength: float | None = Field(None, gt=0, le=1, description="with a template: how much of its faces is forgotten")
    head: bool | None = Field(None, description="with a template: hair and hats are repainted too")
    exact_prompt: Exact = None


@dataclass
class Sent(Generic[F]):
    """A form that was read. files: the bytes of each, by the name of the field."""

    fields: F
    files: dict[str, list[bytes]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


async def read_form(
    request: Request,
    kind: type[F],
    *,
    files: Mapping[str, int],
    limits: Limits,
    texts: re.Pattern[str] | None = None,
) -> Sent[F]:
    """The form of a request. files: names of the fields that are files, as regular expressions, and how many of each
    there may be. texts: names of fields besides the record's. ApiError: anything else."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in FORMS:
        raise ApiError(415, "send a form: multipart/form-data, as `curl -F` does")
    most = sum(files.values()) * (limits.people if any("\\d" in name for name in files) else 1)
    try:
        form = await request.form(max_files=min(most, 200), max_fields=100, max_part_size=4 * LONGEST_TEXT + 1000)
    except ApiError:
        raise
    except Exception as error:  # parsers fed with hostile bytes raise anything
        line = getattr(error, "detail", None) or getattr(error, "message", None) or "it is cut off or malformed"
        raise ApiError(400, f"the form cannot be read: {line}") from None
    found: dict[str, list[bytes]] = {}
    texts_found: dict[str, str] = {}
    values: dict[str, str] = {}
    try:
        for name, value in form.multi_items():
            allowed = next((count for known, count in files.items() if re.fullmatch(known, name)), None)
            if allowed is not None:
                found.setdefault(name, []).append(await _bytes_of(name, value, limits))
                if len(found[name]) > allowed:
                    raise ApiError(400, f"{name}: at most {allowed} files", param=name, code="too_many")
                continue
            extra = texts is not None and texts.fullmatch(name) is not None
            _check_text(name, value, known=extra or name in kind.model_fields)
            into = texts_found if extra else values
            if name in into:
                raise ApiError(400, f"{name} is there twice", param=name)
            into[name] = str(value)
    finally:
        await form.close()
    try:
        return Sent(kind.model_validate(values), found, texts_found)
    except ValidationError as error:
        raise of_fields(error) from None


def _check_text(name: str, value: Any, *, known: bool) -> None:
    shown = name if re.fullmatch(r"[\w.\[\]-]{1,40}", name, re.ASCII) else "one of the fields"
    if not known:
        raise ApiError(400, f"{shown}: there is no such field here; see /docs", param=shown, code="unknown_parameter")
    if isinstance(value, UploadFile):
        raise ApiError(400, f"{shown} is a text, not a file", param=shown)
    if len(value) > LONGEST_TEXT or CONTROL.search(value):
        raise ApiError(400, f"{shown}: at most {LONGEST_TEXT} letters, no control characters", param=shown)


async def _bytes_of(name: str, value: Any, limits: Limits) -> bytes:
    if not isinstance(value, UploadFile):
        line = f"{name} is a file, sent with the form: paths and addresses are never opened"
        raise ApiError(400, line, param=name, code="not_a_file")
    of_lora = name == "lora_file"
    most = limits.lora_bytes if of_lora else limits.picture_bytes
    content = await value.read(most + 1)
    if len(content) > most:
        remedy = "put it among the service's models, and give its name as `lora`" if of_lora else "shrink the picture"
        line = f"{name}: more than {most / 1e6:.0f} MB; {remedy}"
        raise ApiError(413, line, param=name, code="too_large")
    if not content:
        raise ApiError(400, f"{name}: the file is empty", param=name, code="empty")
    return content


# For the description of the API


def form_body(kind: type[BaseModel], files: Mapping[str, str], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The part of an OpenAPI operation that says what a form holds. files: name -> what it is; a name with [] may be
    there several times."""
    schema = kind.model_json_schema()
    for name, words in files.items():
        one = {"type": "string", "format": "binary", "description": words}
        plain = name.removesuffix("[]")
        many = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "description": words}
        schema["properties"][plain] = many if plain != name else one
    schema["required"] = [*schema.get("required", []), *required]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
