"""`POST /v1/portraits`, `/v1/templates`, `/v1/groups`: what is asked for becomes a job."""

from __future__ import annotations

import re
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import Response

from facefact.apps.service.api.faces import asked
from facefact.apps.service.api.forms import (
    LORA_FILE,
    GroupForm,
    PortraitForm,
    Sent,
    TemplateForm,
    form_body,
    read_form,
)
from facefact.apps.service.api.job_routes import PROBLEMS, accepted
from facefact.apps.service.api.problems import ApiError
from facefact.apps.service.api.submitting import IdempotencyKey, service_of, submit
from facefact.apps.service.api.views import JobView
from facefact.apps.service.jobs import Job

router = APIRouter(responses=PROBLEMS)
PHOTOS = "photos of the person, or identity cards; the field may be there several times"
PUT = "photos or cards of who takes this place; `put.1`, `put.2`, ... for the others"
PUTS = r"put\.(0|[1-9]\d?)"
BOX = re.compile(r"(box|words)\.(0|[1-9]\d?)")
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": JobView, "description": "The job that the same Idempotency-Key made before"},
    202: {"model": JobView, "description": "The job"},
}


@router.post(
    "/v1/portraits",
    tags=["portraits"],
    status_code=202,
    response_model=JobView,
    responses=ANSWERS,
    summary="Photos of a person and a prompt: portraits of that person",
    openapi_extra=form_body(PortraitForm, {"face[]": PHOTOS, "lora_file": LORA_FILE}, required=("face",)),
)
async def portraits(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    service = service_of(request)
    files = {"face": service.limits.photos, "lora_file": 1}
    sent = await read_form(request, PortraitForm, files=files, limits=service.limits)
    if "face" not in sent.files:
        raise ApiError(400, "face: send at least one photo of the person, or a card", param="face", code="missing")
    await check_lora(request, sent)
    job, new = await submit(
        request,
        kind="portrait",
        settings=await in_style(request, sent.fields.settings()),
        files=sent.files,
        count=sent.fields.n,
        key=idempotency_key,
    )
    return await answered(request, job, new=new)


async def check_lora(request: Request, sent: Sent[Any]) -> None:
    """ApiError: there is no such LoRA here, or it is said twice which."""
    lora, files = sent.fields.lora, sent.files
    if lora is not None and "lora_file" in files:
        raise ApiError(400, "lora names one that is here, lora_file sends one: choose one of them", param="lora")
    if sent.fields.lora_weight is not None and lora is None and "lora_file" not in files:
        raise ApiError(400, "lora_weight: of which LoRA? give lora or lora_file", param="lora_weight")
    if lora is not None:
        await asked(request, "lora", {"lora": lora}, [], param="lora")


async def in_style(request: Request, settings: dict[str, Any]) -> dict[str, Any]:
    """With the words and settings of the style that is asked for. ApiError: it is none of this service's."""
    if (style := settings.pop("style", None)) is None:
        return settings
    found, _ = await asked(request, "style", {"style": style, "settings": settings}, [], param="style")
    return dict(found["settings"])


@router.post(
    "/v1/templates",
    tags=["templates"],
    status_code=202,
    response_model=JobView,
    responses=ANSWERS,
    summary="A picture whose faces become other people's",
    openapi_extra=form_body(
        TemplateForm,
        {
            "template": "the picture",
            "mask": "white where it may change, in place of the region",
            "face[]": f"{PHOTOS}: for the one face `which`",
            "put.0[]": f"in place of `face`: {PUT} (0 is the largest face)",
            "lora_file": LORA_FILE,
        },
        required=("template",),
    ),
)
async def templates(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    service = service_of(request)
    photos = service.limits.photos
    files = {"template": 1, "mask": 1, "face": photos, PUTS: photos, "lora_file": 1}
    sent = await read_form(request, TemplateForm, files=files, limits=service.limits)
    if "template" not in sent.files:
        raise ApiError(400, "template: send the picture whose faces are to change", param="template", code="missing")
    puts = people(sent, service.limits.people)
    if ("face" in sent.files) == bool(puts):
        line = "say who is to be seen: `face` for one face, or `put.N` for each of several"
        raise ApiError(400, line, param="face", code="missing")
    await check_lora(request, sent)
    settings = sent.fields.settings()
    which = settings.pop("which", None)
    if not puts:
        sent.files[f"put.{which or 0}"] = sent.files.pop("face")
    elif which is not None:
        raise ApiError(400, "which goes with `face`; `put.N` says which face itself", param="which")
    job, new = await submit(
        request, kind="template", settings=settings, files=sent.files, count=sent.fields.n, key=idempotency_key
    )
    return await answered(request, job, new=new)


@router.post(
    "/v1/groups",
    tags=["groups"],
    status_code=202,
    response_model=JobView,
    responses=ANSWERS,
    summary="Several people in one picture",
    openapi_extra=form_body(
        GroupForm,
        {
            "put.0[]": f"{PUT}. Places: `box.N` (left,top,right,bottom in shares of it), the faces of a "
            "`template`, 0 the largest, or the regions of a `layout`; without any they are found from left to right. "
            "`words.N` is a prompt of one person's own",
            "template": "put the people into this picture's faces",
            "layout": "a colour for each person's region, on black",
            "lora_file": LORA_FILE,
        },
        required=("put.0",),
    ),
)
async def groups(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    service = service_of(request)
    files = {"template": 1, "layout": 1, PUTS: service.limits.photos, "lora_file": 1}
    sent = await read_form(request, GroupForm, files=files, limits=service.limits, texts=BOX)
    await check_lora(request, sent)
    settings = sent.fields.settings() | places(sent, service.limits.people)
    job, new = await submit(
        request, kind="group", settings=settings, files=sent.files, count=sent.fields.n, key=idempotency_key
    )
    return await answered(request, job, new=new)


async def answered(request: Request, job: Job, *, new: bool) -> Response:
    service = service_of(request)
    return accepted(service, job, await run_sync(service.jobs.position, job.id), new=new)


def people(sent: Sent[Any], most: int) -> list[int]:
    """The numbers of the places that people are put into, in order. ApiError: too many."""
    found = sorted(int(name.removeprefix("put.")) for name in sent.files if name.startswith("put."))
    if len(found) > most:
        raise ApiError(400, f"{len(found)} people are more than the {most} allowed here", param="put", code="too_many")
    return found


def places(sent: Sent[Any], most: int) -> dict[str, Any]:
    """Of a group: `places` by the person's role, and `words` in their order. ApiError: what does not fit together."""
    found = [str(number) for number in people(sent, most)]
    if not found:
        raise ApiError(400, "put.0: send photos of the people: put.0, put.1, ...", param="put.0", code="missing")
    boxes = {name.partition(".")[2]: text for name, text in sent.texts.items() if name.startswith("box.")}
    words = {name.partition(".")[2]: text for name, text in sent.texts.items() if name.startswith("words.")}
    for name, known in (("box", boxes), ("words", words)):
        if strange := sorted(set(known) - set(found)):
            raise ApiError(400, f"{name}.{strange[0]} is of nobody: there is no put.{strange[0]}", param=name)
    ways = [
        way for way, given in (("box.N", boxes), *((one, one in sent.files) for one in ("template", "layout"))) if given
    ]
    if len(ways) > 1:
        raise ApiError(400, f"{' and '.join(ways)} both say where people are: choose one", param="put")
    if boxes and set(boxes) != set(found):
        raise ApiError(
            400, "some people have a box and others none: say where all are, or where nobody is", param="box"
        )
    settings: dict[str, Any] = {}
    if boxes:
        settings["places"] = {f"put.{number}": box_of(number, text) for number, text in boxes.items()}
    elif ways:
        settings["places"] = {f"put.{number}": number for number in found}
    if words:
        settings["words"] = [words.get(number, "") for number in found]
    return settings


def box_of(number: str, text: str) -> str:
    """The text, if it is left,top,right,bottom in shares of the picture."""
    try:
        sides = [float(one) for one in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) != 4 or not (0 <= sides[0] < sides[2] <= 1 and 0 <= sides[1] < sides[3] <= 1):
        line = f"box.{number}: left,top,right,bottom in shares of the picture, for instance 0,0,0.5,1"
        raise ApiError(400, line, param=f"box.{number}", code="bad_field")
    return ",".join(f"{side:g}" for side in sides)
