"""What travels between the API, the table of jobs and the workers."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from facefact.types import UserError

State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
KINDS = ("portrait", "template", "group")
STATES: tuple[State, ...] = get_args(State)
FINISHED: tuple[State, ...] = ("done", "failed", "cancelled", "expired")
# What pictures of one batch may differ in. (The format of the file is seen to after the picture is made.)
OWN = ("prompt", "negative_prompt", "seed", "format", "style")
ID = re.compile("[0-9a-z]{8,40}")


class QueueFull(Exception):
    """As many jobs wait as may. retry_after: seconds after which there is likely to be a place."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full: try again in {retry_after} seconds")
        self.retry_after = retry_after


class DatabaseGone(Exception):
    """The database did not answer for as long as was waited; one line, without the password. Nothing is known to be
    lost: the same call may be made again."""


def new_id() -> str:
    """A job's name: 80 random bits, so that nobody guesses another's."""
    return secrets.token_hex(10)


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What somebody asks for.

    settings: JSON values by the names of the fields of `generate.Settings`, `InpaintSettings` or `GroupSettings`, and
    "format" (png, jpeg, webp). inputs: role -> keys in the store: "face", "template", "mask", "put.1", ...; "kept": the
    Content Credentials that uploads came with.
    count: pictures, with the seeds seed .. seed + count - 1. key: by which the same owner may ask twice and get one
    job. id: the inputs lie in the store under it. digest: says what the inputs hold, so that the same photos sent twice
    are known to be the same; without it their keys must be equal.
    """

    kind: str
    settings: dict[str, Any]
    inputs: dict[str, list[str]] = field(default_factory=dict)
    count: int = 1
    owner: str = ""
    priority: int = 0
    key: str | None = None
    id: str = field(default_factory=new_id)
    digest: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"{self.kind!r} is no kind of job: {', '.join(KINDS)}")
        if self.count < 1:
            raise UserError(f"{self.count} pictures are none: at least 1")
        if not ID.fullmatch(self.id):
            raise UserError(f"{self.id!r} is no job's id: 8 to 40 of 0-9 and a-z")

    @property
    def content(self) -> str:
        """SHA-256 (hexadecimal) of all that the pictures depend on: equal for the same wish."""
        said = [self.kind, self.settings, self.digest or self.inputs, self.count, self.priority]
        return _hash(said)

    @property
    def alike(self) -> str | None:
        """Equal for jobs that can be made in one batch; None for one that is made alone."""
        if self.kind != "portrait":
            return None
        shared = {name: value for name, value in self.settings.items() if name not in OWN}
        return _hash([shared, len(self.inputs.get("face", []))])


@dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """A row of the table.

    attempts: how often it was begun and not given back. crashes: how often its worker died while it had this job alone.
    lease_until: of the clock that leases go by, which is not the calendar's. created, started, finished: seconds since
    1970. progress: 0 to 1. reason: why it failed, one line. results: keys in the store, one for each picture.
    """

    state: State = "queued"
    attempts: int = 0
    crashes: int = 0
    claimed_by: str | None = None
    lease_until: float | None = None
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    progress: float = 0.0
    reason: str | None = None
    warnings: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """Something that became of a job. number: rises within the job, from 1; there may be gaps.

    "state": {"state", "reason" where it failed}; "progress": {"progress": 0 to 1}, the latest only; "preview":
    {"image": which picture, "jpeg": base64}.
    """

    number: int
    name: str
    data: dict[str, Any]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
