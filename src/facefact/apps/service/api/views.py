"""A job as its owner sees it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from facefact.apps.service.api.service import Service
from facefact.apps.service.jobs import FINISHED, Job, State

PATHS = {"portrait": "portraits", "template": "templates", "group": "groups"}


class Links(BaseModel):
    """Where the rest is, from this service's address on."""

    self: str
    events: str
    images: list[str]


class JobView(BaseModel):
    """position: how many wait before it. progress: 0 to 1. Times are seconds since 1970; expires: when results and
    photos are deleted. photos: how many files of the caller's are kept."""

    id: str
    kind: str
    state: State
    position: int | None = None
    progress: float = Field(ge=0, le=1)
    count: int
    created: float
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    attempts: int
    reason: str | None = None
    warnings: list[str]
    settings: dict[str, Any]
    photos: int
    links: Links


class JobList(BaseModel):
    """The newest first. before: what to ask for the next page with, null on the last."""

    data: list[JobView]
    before: str | None = None


def suffix_of(key: str) -> str:
    return key.rsplit(".", 1)[-1].lower()


def view(service: Service, job: Job, position: int | None) -> JobView:
    at = f"/v1/{PATHS[job.kind]}/{job.id}"
    expires = None
    if job.state in FINISHED and job.finished is not None and service.keep_seconds is not None:
        expires = job.finished + service.keep_seconds
    return JobView(
        id=job.id,
        kind=job.kind,
        state=job.state,
        position=position,
        progress=min(1.0, max(0.0, job.progress)),
        count=job.count,
        created=job.created,
        started=job.started,
        finished=job.finished,
        expires=expires,
        attempts=job.attempts,
        reason=job.reason,
        warnings=list(job.warnings),
        settings=dict(job.settings),
        photos=sum(len(keys) for role, keys in job.inputs.items() if role != "kept"),
        links=Links(
            self=at,
            events=f"{at}/events",
            images=[f"{at}/images/{k}.{suffix_of(key)}" for k, key in enumerate(job.results)],
        ),
    )
