"""`/v1/faces`: what is found in a photo. `/v1/cards`: an identity card of a person's photos."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from facefact.apps.service.api.aside import Busy, Died
from facefact.apps.service.api.forms import form_body, read_form
from facefact.apps.service.api.job_routes import PRIVATE, PROBLEMS
from facefact.apps.service.api.pictures import begins_as_card
from facefact.apps.service.api.problems import ApiError, too_busy
from facefact.apps.service.api.submitting import decoded, service_of
from facefact.types import UserError

router = APIRouter(responses=PROBLEMS, tags=["people"])
SECONDS = 120.0  # for the photos of one person; the first also loads the models
CARD = "application/octet-stream"


def _line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("one line, without control characters")
    return text


def _day(text: str) -> str:
    """Strictly as it is written: what is to expire must not be kept by a misreading."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) or date.fromisoformat(text) < date.today():
        raise ValueError("a day from today on, as 2027-01-31")
    return text


class FacesForm(BaseModel):
    """One photo, looked at."""

    model_config = ConfigDict(extra="forbid")

    which: int = Field(0, ge=0, le=63, description="which face, 0 is the largest")
    draw: bool = Field(False, description="send a JPEG back that shows what was found")


class CardForm(BaseModel):
    """Photos of one person."""

    model_config = ConfigDict(extra="forbid")

    which: int = Field(0, ge=0, le=63, description="which face of a photo, 0 is the largest")
    name: Annotated[str, Field(max_length=200), AfterValidator(_line)] = Field("", description="what to call them")
    consent: Annotated[str, Field(max_length=2000), AfterValidator(_line)] = Field(
        "", description="what they agreed to"
    )
    expires: Annotated[str, AfterValidator(_day)] | None = Field(
        None, description="the last day that it counts, as 2027-01-31"
    )
    thumbnail: bool = Field(False, description="put a small picture of the face in")


class Pose(BaseModel):
    yaw: float
    pitch: float
    roll: float


class FaceView(BaseModel):
    """box, landmarks: pixels of the photo as it is meant to be seen. unusable: why it cannot be used. costs: what makes
    it a worse reference."""

    box: list[float]
    landmarks: list[list[float]]
    score: float
    pose: Pose
    quality: dict[str, float]
    unusable: str | None = None
    costs: list[str]
    backend: str


class FacesView(BaseModel):
    """width, height: of the photo as it was looked at. which: the face that would be taken. error: why none can be.
    drawn: a JPEG in base64."""

    width: int
    height: int
    faces: list[FaceView]
    which: int | None = None
    error: str | None = None
    detector: str
    warnings: list[str]
    drawn: str | None = None


@router.post(
    "/v1/faces",
    response_model=FacesView,
    summary="The faces in a photo, the largest first, and what speaks against them",
    openapi_extra=form_body(FacesForm, {"face": "the photo"}, required=("face",)),
)
async def faces(request: Request) -> Response:
    sent = await read_form(request, FacesForm, files={"face": 1}, limits=service_of(request).limits)
    if "face" not in sent.files:
        raise ApiError(400, "face: send the photo", param="face", code="missing")
    pictures = await photos_of(request, sent.files["face"])
    said, _ = await asked(request, "faces", sent.fields.model_dump(), pictures)
    return JSONResponse(FacesView.model_validate(said).model_dump(), headers=PRIVATE)


@router.post(
    "/v1/cards",
    summary="An identity card: a person in a small file, usable wherever a photo is",
    response_class=Response,
    responses={200: {"content": {CARD: {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=form_body(CardForm, {"face[]": "photos of one person"}, required=("face",)),
)
async def cards(request: Request) -> Response:
    """Nothing of it is kept here. The header X-Warnings is a JSON list of what speaks against the photos."""
    limits = service_of(request).limits
    sent = await read_form(request, CardForm, files={"face": limits.photos}, limits=limits)
    if "face" not in sent.files:
        raise ApiError(400, "face: send at least one photo of the person", param="face", code="missing")
    pictures = await photos_of(request, sent.files["face"])
    said, parts = await asked(request, "card", sent.fields.model_dump(), pictures)
    return card_file(said, parts[0])


class MergeForm(BaseModel):
    """Cards of one person."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=200), AfterValidator(_line)] = Field(
        "", description="what to call them (default: as the first card does)"
    )


class SourceView(BaseModel):
    """Of one photo. kind: photo, avatar, drawn (the avatar that stands in for photos) or invented."""

    kind: str
    quality: float
    pose: Pose


class CardView(BaseModel):
    """expires: the last day that it counts. fits: whether this service can read it. thumbnail: a JPEG in base64."""

    name: str
    consent: str
    made: str
    expires: str | None
    expired: bool
    adapter: str
    fits: bool
    sources: list[SourceView]
    thumbnail: str | None


class NoFields(BaseModel):
    model_config = ConfigDict(extra="forbid")


@router.post(
    "/v1/cards/look",
    response_model=CardView,
    summary="What an identity card says",
    openapi_extra=form_body(NoFields, {"card": "the card"}, required=("card",)),
)
async def look(request: Request) -> Response:
    sent = await read_form(request, NoFields, files={"card": 1}, limits=service_of(request).limits)
    said, _ = await asked(request, "look", {}, cards_of(sent.files, least=1), param="card")
    return JSONResponse(CardView.model_validate(said).model_dump(), headers=PRIVATE)


@router.post(
    "/v1/cards/merge",
    summary="Cards of one person: one card of all their photos",
    response_class=Response,
    responses={200: {"content": {CARD: {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=form_body(MergeForm, {"card[]": "two cards or more"}, required=("card",)),
)
async def merge(request: Request) -> Response:
    """It expires with the first of them. The header X-Warnings says so where they look like two people."""
    limits = service_of(request).limits
    sent = await read_form(request, MergeForm, files={"card": limits.photos}, limits=limits)
    content = cards_of(sent.files, least=2)
    said, parts = await asked(request, "merge", sent.fields.model_dump(), content, param="card")
    return card_file(said, parts[0])


def cards_of(files: dict[str, list[bytes]], *, least: int) -> list[bytes]:
    """ApiError: fewer, or what is no card."""
    found = files.get("card", [])
    if len(found) < least:
        line = "card: send the card" if least == 1 else "card: send two cards of one person, or more"
        raise ApiError(400, line, param="card", code="missing")
    if not all(map(begins_as_card, found)):
        raise ApiError(400, "card: this is no identity card", param="card", code="bad_card")
    return found


def card_file(said: dict[str, Any], content: bytes) -> Response:
    headers = PRIVATE | {
        "Content-Disposition": 'attachment; filename="person.safetensors"',
        "X-Warnings": json.dumps(said.get("warnings", []))[:4000],
    }
    return Response(content, media_type=CARD, headers=headers)


class Likeness(BaseModel):
    """similarity: cosine by the face encoder. likeness: 0 as two strangers, 1 as two real pictures of one person, where
    that is calibrated. words: the same. None: no face is found in the picture."""

    similarity: float | None
    likeness: float | None
    words: str


class LikenessList(BaseModel):
    """In the order of the pictures."""

    data: list[Likeness]
    warnings: list[str]


@router.post(
    "/v1/likeness",
    response_model=LikenessList,
    summary="How like a person pictures are, in natural units",
    openapi_extra=form_body(
        NoFields,
        {"face[]": "photos or cards of the person", "picture[]": "the pictures"},
        required=("face", "picture"),
    ),
)
async def likeness(request: Request) -> Response:
    limits = service_of(request).limits
    wanted = {"face": limits.photos, "picture": limits.count}
    sent = await read_form(request, NoFields, files=wanted, limits=limits)
    for name in wanted:
        if name not in sent.files:
            raise ApiError(400, f"{name}: send at least one", param=name, code="missing")
    people = [await decoded(request, "face", content) for content in sent.files["face"]]
    pictures = await photos_of(request, sent.files["picture"])
    said = {"suffixes": [one.suffix for one in people]}
    found, _ = await asked(request, "likeness", said, [*(one.content for one in people), *pictures])
    return JSONResponse(LikenessList.model_validate(found).model_dump(), headers=PRIVATE)


async def photos_of(request: Request, contents: list[bytes]) -> list[bytes]:
    """Decoded, as PNGs. ApiError: one is none."""
    found = []
    for content in contents:
        picture = await decoded(request, "face", content)
        if picture.suffix != ".png":
            raise ApiError(400, "face: this is a card; send photos", param="face", code="bad_picture")
        found.append(picture.content)
    return found


async def asked(
    request: Request, what: str, said: dict[str, Any], pictures: list[bytes], *, param: str = "face"
) -> tuple[dict[str, Any], list[bytes]]:
    """What the process that finds faces says. ApiError: it cannot."""
    photos = service_of(request).photos
    try:
        return await run_sync(lambda: photos.ask(what, said, pictures, seconds=SECONDS))
    except UserError as error:
        raise ApiError(400, str(error), param=param, code=f"bad_{param}") from None
    except Died as error:
        raise ApiError(400, f"the photo {error}", param="face", code="bad_picture") from None
    except Busy as error:
        raise too_busy(str(error), 5) from None
