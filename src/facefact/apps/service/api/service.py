"""What the routes stand on: the record of everything that `facefact serve` has opened."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from facefact.apps.service.api.aside import Aside
from facefact.apps.service.api.keys import Keys
from facefact.apps.service.jobs import Jobs
from facefact.apps.service.keeper import Keeper
from facefact.apps.service.store import Store


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of what may be asked for.

    body_bytes, body_seconds: of a whole request. picture_bytes, picture_pixels: of one upload. picture_side: photos of
    people are shrunk to this longer side. lora_bytes: of a LoRA that is sent along. decode_seconds: for one upload.
    photos: of one person. people: in one picture. count: pictures of one job. steps: of a picture. side, least_side:
    width and height of a picture to be made, at most and at least. queue: jobs that wait. wait_seconds: how long a call
    of OpenAI's routes may wait for its pictures. streams: calls that listen to events at a time.
    """

    body_bytes: int = 80_000_000
    body_seconds: float = 120.0
    picture_bytes: int = 20_000_000
    picture_pixels: int = 40_000_000
    picture_side: int = 2048
    lora_bytes: int = 64_000_000
    decode_seconds: float = 15.0
    photos: int = 8
    people: int = 8
    count: int = 10
    steps: int = 100
    side: int = 2048
    least_side: int = 1
    queue: int = 1000
    wait_seconds: float = 600.0
    streams: int = 64


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the workers have open. name: as OpenAI's clients name it. licences: of its parts; there as soon as the
    process that looks at photos has read them. owned_by: who made it."""

    name: str
    adapter: str = ""
    licences: dict[str, str] = field(default_factory=dict)
    owned_by: str = "facefact"


@dataclass(frozen=True, kw_only=True)
class Service:
    """jobs, store: where jobs and their files are. decoders: look at uploads. photos: finds faces and makes cards.
    keys: who may call, None for everybody. shared: whether strangers may be among the callers (no keys, and not this
    machine alone): nobody gets a list of jobs then. hosts, origins: see `guard.Rules`. workers: how many can take a job
    now; None where others run them. styles: those that there are. keeper: deletes what has expired, and knows whether
    there is room. signs: whether workers sign what they make, so that the Content Credentials of what is sent are kept
    for them. began: when the service was started, seconds since 1970.
    """

    jobs: Jobs
    store: Store
    decoders: Aside
    photos: Aside
    model: Model
    limits: Limits = field(default_factory=Limits)
    keys: Keys | None = None
    shared: bool = False
    hosts: Collection[str] | None = None
    origins: Collection[str] = ()
    workers: Callable[[], int] | None = None
    styles: Callable[[], Sequence[dict[str, Any]]] = list
    keeper: Keeper | None = None
    signs: bool = False
    began: float = field(default_factory=time.time)

    @property
    def keep_seconds(self) -> float | None:
        """How long results are kept; None for ever."""
        return None if self.keeper is None else self.keeper.keep
