"""Server-sent events of a job: what became of it so far, then what becomes of it, until it is finished."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Request

from facefact.apps.service.api.service import Service
from facefact.apps.service.jobs import FINISHED, DatabaseGone, Event, Job

LOOK = 0.2  # seconds between two looks into the table
SLOWEST_LOOK = 1.0  # for a job that waits
BEAT = 15.0  # seconds of silence after which a comment says that the line is up
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MEDIA = "text/event-stream"
# How an event is described, for the API's description.
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["data"],
    "description": "data is JSON",
}


def as_text(event: Event) -> str:
    return f"id: {event.number}\nevent: {event.name}\ndata: {json.dumps(event.data)}\n\n"


async def follow(
    service: Service, id: str, *, after: int = 0, until: float | None = None
) -> AsyncIterator[Event | Job | None]:
    """The events after that number as they come; the job itself once it is finished, and that is the end. None after
    every other look, whatever it found: who writes to somebody sees then whether they are still there.

    until: a moment of `time.monotonic()` at which it ends anyway.
    """
    while until is None or time.monotonic() < until:
        job = await run_sync(service.jobs.get, id)  # before its events: what comes with the end is among them
        found = await run_sync(partial(service.jobs.events, id, after=after))
        for event in found:
            after = event.number
            yield event
        if job is None:
            return
        if job.state in FINISHED:
            yield job
            return
        yield None
        await asyncio.sleep(SLOWEST_LOOK if job.state == "queued" and not found else LOOK)


async def stream(request: Request, service: Service, id: str, after: int) -> AsyncIterator[str]:
    """As text. It ends when the job is finished (a client that asks again hears nothing new), or the caller is gone."""
    said = time.monotonic()
    yield "retry: 2000\n\n"
    try:
        async for one in follow(service, id, after=after):
            if isinstance(one, Event):
                said = time.monotonic()
                yield as_text(one)
            elif one is None:
                if await request.is_disconnected():
                    return
                if time.monotonic() - said > BEAT:
                    said = time.monotonic()
                    yield ": still here\n\n"
    except DatabaseGone:
        return  # the client comes back, with the number of the last it has


class Streams:
    """How many listen at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    def full(self) -> bool:
        return self.now >= self.most

    async def counted(self, texts: AsyncIterator[str]) -> AsyncIterator[Any]:
        self.now += 1
        try:
            async for one in texts:
                yield one
        finally:
            self.now -= 1
