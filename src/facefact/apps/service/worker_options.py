"""What a worker needs to know, as JSON values: it may be another process on another machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """database, store: as `Jobs.open` and `open_store` take them. studio: the arguments of `Studio.open`, as JSON.
    batch: pictures that are painted at a time. lease: seconds after which a worker that is not heard of counts as dead.
    deadline: seconds without a step after which it ends itself. keep_photos: whether the photos of a job that is
    finished stay (for the keeper to delete them in time). c2pa_key, c2pa_cert, watermark: how pictures are signed and
    marked, as the options of `facefact generate`. clock: the service's, as `Jobs.open` takes it; its pool gives it."""

    database: str
    store: str
    studio: dict[str, Any] = field(default_factory=dict)
    batch: int = 4
    lease: float = 30.0
    deadline: float = 1800.0
    keep_photos: bool = True
    c2pa_key: str | None = None
    c2pa_cert: str | None = None
    watermark: bool = False
    clock: float | None = None
