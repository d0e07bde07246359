"""What all kinds of jobs have alike: list, look, cancel or forget, events, pictures."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from facefact.apps.service.api import events
from facefact.apps.service.api.problems import ApiError, Problem, too_busy
from facefact.apps.service.api.service import Service
from facefact.apps.service.api.submitting import owner_of, service_of
from facefact.apps.service.api.views import PATHS, JobList, JobView, suffix_of, view
from facefact.apps.service.jobs import FINISHED, Job, State

Id = Annotated[str, Path(pattern="^[0-9a-z]{8,40}$", description="as the answer to the job's submission has it")]
Before = Annotated[str | None, Query(pattern="^[0-9a-z]{8,40}$", description="the last job of the page before")]
After = Annotated[int | None, Query(ge=0, le=2**53, description="as Last-Event-ID, for who cannot set headers")]
LastEvent = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**53, description="the last event that came")]
PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
IMAGES = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg", "webp": "image/webp"}
PRIVATE = {"Cache-Control": "private, no-store"}


def accepted(service: Service, job: Job, position: int | None, *, new: bool) -> JSONResponse:
    """202, or 200 for a job that the same key made before."""
    shown = view(service, job, position)
    headers = {"Location": shown.links.self} | PRIVATE
    return JSONResponse(shown.model_dump(), status_code=202 if new else 200, headers=headers)


def own_job(request: Request, kind: str, id: str) -> Job:
    """ApiError 404: there is none, it is of another kind, or another's: which of it is not said."""
    service = service_of(request)
    job = service.jobs.get(id, owner=owner_of(request))
    if job is None or job.kind != kind:
        raise ApiError(404, f"there is no {kind} {id} of yours: it never was, has expired or was forgotten")
    return job


def job_routes(kind: str) -> APIRouter:
    """The routes of one kind, without the one that makes a job."""
    router = APIRouter(prefix=f"/v1/{PATHS[kind]}", tags=[PATHS[kind]], responses=PROBLEMS)
    _listing(router, kind)
    _one(router, kind)
    _following(router, kind)
    return router


def _listing(router: APIRouter, kind: str) -> None:
    @router.get("", response_model=JobList, summary=f"Your {PATHS[kind]}, the newest first")
    async def listed(
        request: Request,
        state: State | None = None,
        before: Before = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        service, owner = service_of(request), owner_of(request)
        if service.shared:
            line = "this service is open to strangers, so that it lists nobody's jobs: keep the ids of yours"
            raise ApiError(403, line, code="no_list")

        def page() -> JobList:
            found = service.jobs.list(owner=owner, kind=kind, state=state, before=before, limit=limit)
            shown = [view(service, job, service.jobs.position(job.id)) for job in found]
            return JobList(data=shown, before=found[-1].id if len(found) == limit else None)

        return JSONResponse((await run_sync(page)).model_dump(), headers=PRIVATE)


def _one(router: APIRouter, kind: str) -> None:
    @router.get("/{id}", response_model=JobView, summary="State, position, progress, pictures, warnings")
    async def looked_at(request: Request, id: Id) -> Response:
        def look() -> JobView:
            job = own_job(request, kind, id)
            return view(service_of(request), job, service_of(request).jobs.position(id))

        return JSONResponse((await run_sync(look)).model_dump(), headers=PRIVATE)

    @router.delete(
        "/{id}",
        response_model=JobView,
        summary="Cancel it; or, where it is finished, forget it, pictures and photos too",
    )
    async def deleted(request: Request, id: Id) -> Response:
        shown = await run_sync(lambda: view(service_of(request), _delete(request, kind, id), None))
        return JSONResponse(shown.model_dump(), headers=PRIVATE)


def _delete(request: Request, kind: str, id: str) -> Job:
    service, owner = service_of(request), owner_of(request)
    job = own_job(request, kind, id)
    if job.state not in FINISHED:
        return service.jobs.cancel(id, owner=owner) or job
    service.store.delete_all(id)  # first: a row without files is better than files that nobody knows of
    return service.jobs.forget(id, owner=owner) or job


def _following(router: APIRouter, kind: str) -> None:
    @router.get(
        "/{id}/events",
        summary="Server-sent events: state, progress, preview (a small JPEG in base64), with replay",
        response_class=StreamingResponse,
        responses={200: {"content": {events.MEDIA: {"schema": events.SCHEMA}}}},
    )
    async def told(request: Request, id: Id, after: After = None, last: LastEvent = None) -> Response:
        service = service_of(request)
        await run_sync(own_job, request, kind, id)
        streams: events.Streams = request.app.state.streams
        if streams.full():
            raise too_busy(f"{streams.most} calls listen already: look at the job itself, or try again", 5)
        begin = last if last is not None else after
        texts = streams.counted(events.stream(request, service, id, begin or 0))
        return StreamingResponse(texts, media_type=events.MEDIA, headers=events.HEADERS)

    @router.get(
        "/{id}/images/{k}.{form}",
        summary="A picture, with its recipe inside",
        response_class=Response,
        responses={
            200: {"content": {one: {"schema": {"type": "string", "format": "binary"}} for one in IMAGES.values()}}
        },
    )
    async def shown(
        request: Request,
        id: Id,
        k: Annotated[int, Path(ge=0, le=999)],
        form: Annotated[str, Path(pattern="^(png|jpg|jpeg|webp)$")],
    ) -> Response:
        def read() -> bytes:
            job = own_job(request, kind, id)
            if k >= len(job.results):
                have = (
                    f"it has {len(job.results)} pictures" if job.results else f"it is {job.state} and has no pictures"
                )
                raise ApiError(404, f"there is no picture {k}: {have}")
            key = job.results[k]
            if IMAGES[form] != IMAGES.get(suffix_of(key)):
                raise ApiError(404, f"picture {k} is a {suffix_of(key)}: ask for {k}.{suffix_of(key)}")
            return service_of(request).store.get(key)

        try:
            content = await run_sync(read)
        except KeyError:
            raise ApiError(404, f"picture {k} is not there any more") from None
        return Response(content, media_type=IMAGES[form], headers=PRIVATE)
