"""`/v1/images/edits` and `/v1/images/generations` as OpenAI's clients call them, made of the same jobs.

    image (one or several)  photos of the person, who is seen in a new picture
    with a mask             the first image is the template, what is transparent in the mask changes; the person is
                            shown by the other images or, where there is only one, is who is seen there already
    input_fidelity          how much the face counts: high 0.9, low 0.6 (neither: the default, 0.7); in portraits of
                            the demo model 1.3 and 0.9 (1.1)
    quality                 low 12, medium 25, high 40 steps, unless num_inference_steps says it

A call waits for its job; a caller who hangs up cancels it. What OpenAI's service knows and this does not is refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facefact.apps.service.api import events
from facefact.apps.service.api.forms import MOST_SEED, Text, Words, form_body, read_form
from facefact.apps.service.api.job_routes import PRIVATE, PROBLEMS
from facefact.apps.service.api.problems import ApiError, answer, of_fields, too_busy
from facefact.apps.service.api.service import Service
from facefact.apps.service.api.submitting import owner_of, service_of, submit
from facefact.apps.service.jobs import Event, Job
from facefact.demo import DEMO

router = APIRouter(prefix="/v1/images", tags=["openai"], responses=PROBLEMS)
FIDELITY = {"high": 0.9, "low": 0.6}
DEMO_FIDELITY = {"high": 1.3, "low": 0.9}  # about its own scale: see `facefact.demo`
STEPS = {"low": 12, "medium": 25, "standard": 25, "high": 40, "hd": 40}
MOST_JSON = 100_000  # bytes of the body of a generation: prompts and numbers
SIZE = "^(auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3})$"


class Ask(BaseModel):
    """What both calls have."""

    model_config = ConfigDict(extra="forbid")

    prompt: Words = Field(description="what to show")
    model: Text | None = Field(None, description="as /v1/models names it (default: the one that there is)")
    n: int = Field(1, ge=1, le=10, description="how many pictures")
    size: str | None = Field(None, pattern=SIZE, description="WIDTHxHEIGHT in pixels, multiples of 8, or auto")
    quality: Literal["auto", "low", "medium", "standard", "high", "hd"] | None = None
    response_format: Literal["b64_json"] | None = Field(None, description="pictures come in base64")
    output_format: Literal["png", "jpeg", "webp"] = "png"
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = Field(None, description="no prompt is judged here, whatever it says")
    user: Text | None = Field(None, description="not used")
    stream: bool = False
    partial_images: int | None = Field(None, ge=0, le=3, description="with stream: how many previews")
    seed: int | None = Field(None, ge=0, le=MOST_SEED)
    num_inference_steps: int | None = Field(None, ge=1, le=1000)
    guidance_scale: float | None = Field(None, ge=0, le=50)
    negative_prompt: Text | None = None

    def settings(self) -> dict[str, Any]:
        """By the names of our own settings."""
        if self.partial_images and not self.stream:
            raise ApiError(400, "partial_images are for calls with stream", param="partial_images")
        width, height = sides(self.size)
        steps = self.num_inference_steps or STEPS.get(self.quality or "")
        given: dict[str, Any] = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt,
            "seed": self.seed,
            "steps": steps,
        }
        given |= {"guidance_scale": self.guidance_scale, "width": width, "height": height}
        return {name: value for name, value in given.items() if value is not None} | {"format": self.output_format}


class Edit(Ask):
    """`/v1/images/edits`."""

    input_fidelity: Literal["high", "low"] | None = Field(None, description="how much the face counts")


class Generation(Ask):
    """`/v1/images/generations`: nobody in particular, the base model alone."""


class Picture(BaseModel):
    b64_json: str


class Pictures(BaseModel):
    """job: by which `/v1/portraits/{id}` or `/v1/templates/{id}` knows it."""

    created: int
    data: list[Picture]
    output_format: str
    job: str


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Pictures, "content": {events.MEDIA: {"schema": events.SCHEMA}}}
}


@router.post(
    "/edits",
    response_model=Pictures,
    responses=ANSWERS,
    summary="Pictures of the person in the images; OpenAI's call",
    openapi_extra=form_body(
        Edit,
        {
            "image[]": "photos of the person, or cards; with a mask the first is the template",
            "mask": "transparent: may change",
        },
        required=("image",),
    ),
)
async def edits(request: Request) -> Response:
    service = service_of(request)
    most = service.limits.photos + 1
    sent = await read_form(request, Edit, files={"image": most, r"image\[\]": most, "mask": 1}, limits=service.limits)
    images = [*sent.files.get("image", []), *sent.files.get("image[]", [])]
    if not images:
        raise ApiError(400, "image: send at least one photo of the person", param="image", code="missing")
    check_model(service, sent.fields.model)
    settings = sent.fields.settings()
    if sent.fields.input_fidelity:
        portrait_of_demo = service.model.name == DEMO and "mask" not in sent.files
        settings["scale"] = (DEMO_FIDELITY if portrait_of_demo else FIDELITY)[sent.fields.input_fidelity]
    if "mask" in sent.files:
        settings.pop("width", None), settings.pop("height", None)
        if sent.fields.size not in (None, "auto"):
            raise ApiError(400, "with a mask the picture is as large as the first image: size auto", param="size")
        files = {"template": images[:1], "put.0": images[1:] or images, "clear_mask": sent.files["mask"]}
        return await made(request, "template", sent.fields, settings, files, name="image_edit")
    if len(images) > service.limits.photos:
        raise ApiError(400, f"image: at most {service.limits.photos} photos", param="image", code="too_many")
    return await made(request, "portrait", sent.fields, settings, {"face": images}, name="image_edit")


@router.post(
    "/generations",
    response_model=Pictures,
    responses=ANSWERS,
    summary="Pictures of nobody in particular; OpenAI's call",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Generation.model_json_schema()}},
        }
    },
)
async def generations(request: Request) -> Response:
    service = service_of(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send JSON: Content-Type application/json")
    asked = generation(await request.body())
    check_model(service, asked.model)
    return await made(request, "portrait", asked, asked.settings() | {"scale": 0.0}, {}, name="image_generation")


def generation(body: bytes) -> Generation:
    if len(body) > MOST_JSON:
        raise ApiError(413, f"more than {MOST_JSON // 1000} kB of JSON")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not JSON") from None
    try:
        return Generation.model_validate(said)
    except ValidationError as error:
        raise of_fields(error) from None


def check_model(service: Service, name: str | None) -> None:
    """ApiError: it is not the one that is open."""
    if name is not None and name != service.model.name:
        line = f"there is no such model here: there is {service.model.name!r}"
        raise ApiError(404, line, param="model", code="model_not_found")


def sides(size: str | None) -> tuple[int | None, int | None]:
    if size is None or size == "auto":
        return None, None
    width, height = (int(one) for one in size.split("x"))
    for side in (width, height):
        if side % 8 or side < 64:
            raise ApiError(400, f"size: {side} is no multiple of 8 from 64 on", param="size", code="bad_field")
    return width, height


async def made(
    request: Request, kind: str, asked: Ask, settings: dict[str, Any], files: dict[str, list[bytes]], *, name: str
) -> Response:
    """The pictures, once they are there; or events until then."""
    job, _ = await submit(request, kind=kind, settings=settings, files=files, count=asked.n)
    if asked.stream:
        texts = streamed(request, job, name, asked)
        return StreamingResponse(texts, media_type=events.MEDIA, headers=events.HEADERS)
    done = await finished(request, job)
    pictures = await run_sync(pictures_of, service_of(request), done)
    shown = Pictures(
        created=int(done.finished or time.time()),
        data=[Picture(b64_json=one) for one in pictures],
        output_format=asked.output_format,
        job=job.id,
    )
    return JSONResponse(shown.model_dump(), headers=PRIVATE)


async def finished(request: Request, job: Job) -> Job:
    """ApiError: it failed, was cancelled, or took too long; then, or when the caller hangs up, it is cancelled."""
    service = service_of(request)
    until = time.monotonic() + service.limits.wait_seconds
    done: Job | None = None
    try:
        async for one in events.follow(service, job.id, until=until):
            if isinstance(one, Job):
                done = one
            elif one is None and await request.is_disconnected():
                raise ApiError(408, "the caller is gone")
    finally:
        if done is None:
            await run_sync(cancelled, request, job)
    if done is None:
        raise too_busy("it was not made in time, and is cancelled: use /v1/portraits for what may take long", 60)
    if done.state != "done":
        raise ApiError(400, done.reason or f"the job was {done.state}", code=f"job_{done.state}")
    return done


def cancelled(request: Request, job: Job) -> None:
    with contextlib.suppress(Exception):  # the answer says already what is wrong
        service_of(request).jobs.cancel(job.id, owner=owner_of(request))


def pictures_of(service: Service, job: Job) -> list[str]:
    """In base64."""
    return [base64.b64encode(service.store.get(key)).decode() for key in job.results]


async def streamed(request: Request, job: Job, name: str, asked: Ask) -> AsyncIterator[str]:
    """`<name>.partial_image` for some of the previews, `<name>.completed` for every picture; `error` where there is
    none."""
    service, sent = service_of(request), 0
    about = {"created_at": int(time.time()), "size": asked.size or "auto", "quality": asked.quality or "auto"}
    about |= {"background": asked.background or "auto"}
    until = time.monotonic() + service.limits.wait_seconds
    done: Job | None = None
    wanted = asked.partial_images or 0
    try:
        async for one in events.follow(service, job.id, until=until):
            if isinstance(one, Job):
                done = one
            elif isinstance(one, Event) and one.name == "preview" and sent < wanted and one.data.get("jpeg"):
                said = {"partial_image_index": sent, "b64_json": one.data["jpeg"], "output_format": "jpeg"}
                yield event_text(f"{name}.partial_image", about | said)
                sent += 1
            elif one is None and await request.is_disconnected():
                return
        if done is None or done.state != "done":
            reason = (
                done.reason if done and done.reason else f"the job was {done.state if done else 'not made in time'}"
            )
            yield event_text("error", json.loads(bytes(answer(ApiError(400, reason)).body)))
            return
        for picture in await run_sync(pictures_of, service, done):
            said = {"b64_json": picture, "output_format": asked.output_format, "usage": USAGE}
            yield event_text(f"{name}.completed", about | said)
    finally:
        if done is None:
            await run_sync(cancelled, request, job)


USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


def event_text(kind: str, said: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | said)}\n\n"
