"""Whether it lives, whether it can work, and its figures."""

from __future__ import annotations

from typing import Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from facefact.apps.service.api.faces import asked
from facefact.apps.service.api.job_routes import PROBLEMS
from facefact.apps.service.api.service import Service
from facefact.apps.service.api.submitting import metrics_of, service_of
from facefact.apps.service.jobs import DatabaseGone

router = APIRouter(tags=["health"], responses=PROBLEMS)
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """database: it answers. workers: how many have their model loaded; null where they are run elsewhere."""

    ready: bool
    database: bool
    workers: int | None = None


class Model(BaseModel):
    """As OpenAI's, and what it is made of: licences of the parts."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    adapter: str = ""
    licences: dict[str, str] = {}


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class StyleList(BaseModel):
    data: list[dict[str, Any]]


class Lora(BaseModel):
    """name: of its file, among this service's models."""

    name: str


class LoraList(BaseModel):
    data: list[Lora]


@router.get("/healthz", response_model=Health, summary="The service answers")
async def healthz() -> Health:
    return Health()


@router.get("/readyz", response_model=Ready, summary="Model loaded, database there", responses={503: {"model": Ready}})
async def readyz(request: Request) -> Response:
    said = await run_sync(readiness, service_of(request))
    return JSONResponse(said.model_dump(), status_code=200 if said.ready else 503)


def readiness(service: Service) -> Ready:
    try:
        service.jobs.counts()
        database = True
    except DatabaseGone:
        database = False
    workers = service.workers() if service.workers is not None else None
    return Ready(ready=database and workers != 0, database=database, workers=workers)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {METRICS: {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    return Response(await run_sync(metrics_of(request).text), headers={"Content-Type": METRICS})


@router.get("/v1/models", response_model=ModelList, tags=["models"], summary="What the workers have open")
async def models(request: Request) -> ModelList:
    return ModelList(data=[model_of(service_of(request))])


@router.get("/v1/models/{name:path}", response_model=Model, tags=["models"], summary="One of them")
async def model(request: Request, name: str) -> Model:
    from facefact.apps.service.api.openai import check_model

    check_model(service_of(request), name)
    return model_of(service_of(request))


def model_of(service: Service) -> Model:
    one = service.model
    return Model(
        id=one.name,
        created=int(service.began),
        owned_by=one.owned_by,
        adapter=one.adapter,
        licences=dict(one.licences),
    )


@router.get("/v1/loras", response_model=LoraList, tags=["styles"], summary="LoRAs that can be asked for by name")
async def loras(request: Request) -> LoraList:
    found, _ = await asked(request, "loras", {}, [], param="lora")
    return LoraList(data=found["data"])


@router.get("/v1/styles", response_model=StyleList, tags=["styles"], summary="Styles that can be asked for by name")
async def styles(request: Request) -> StyleList:
    return StyleList(data=list(await run_sync(service_of(request).styles)))
