"""The same calls as coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from facefact.client.blocking import Client, Job
from facefact.client.wire import Photo


class AsyncClient:
    """As Client, with coroutines in the place of its calls (each in a thread). A `portraits`, `templates` or `groups`
    that is cancelled while it waits cancels its job. For more, `client` is the blocking one."""

    def __init__(self, url: str, key: str | None = None, **more: Any) -> None:
        self.client = Client(url, key, **more)

    async def portraits(self, *, wait: bool = True, progress: bool = True, **given: Any) -> Job:
        return await self._made(partial(self.client.portraits, **given), wait, progress)

    async def templates(self, *, wait: bool = True, progress: bool = True, **given: Any) -> Job:
        return await self._made(partial(self.client.templates, **given), wait, progress)

    async def groups(self, *, wait: bool = True, progress: bool = True, **given: Any) -> Job:
        return await self._made(partial(self.client.groups, **given), wait, progress)

    async def faces(self, face: Photo, **given: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self.client.faces, face, **given)

    async def cards(self, **given: Any) -> bytes:
        return await asyncio.to_thread(self.client.cards, **given)

    async def models(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.client.models)

    async def loras(self) -> list[str]:
        return await asyncio.to_thread(self.client.loras)

    async def styles(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.client.styles)

    async def job(self, id: str, kind: str = "portraits") -> Job:
        return await asyncio.to_thread(self.client.job, id, kind)

    async def images(self, job: Job) -> list[bytes]:
        return await asyncio.to_thread(job.images)

    async def _made(self, submit: Callable[..., Job], wait: bool, progress: bool) -> Job:
        job = await asyncio.to_thread(partial(submit, wait=False))
        if not wait:
            return job
        stop = threading.Event()
        try:
            return await asyncio.to_thread(job.wait, progress=progress, stop=stop)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.to_thread(job.cancel)
            raise
