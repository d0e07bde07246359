"""From what was sent to a job in the table: uploads are decoded, stored under the new job's id, and the row is written.

The files are there before the row is, so that no worker meets a job without its photos; if the row is not written, they
are deleted again (and what a crash leaves between the two, the workers' housekeeping finds).
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Header, Request

from facefact.apps.service.api.aside import Busy, Died
from facefact.apps.service.api.metrics import Metrics
from facefact.apps.service.api.problems import ApiError, too_busy
from facefact.apps.service.api.service import Service
from facefact.apps.service.jobs import Job, NewJob, QueueFull, new_id
from facefact.apps.service.keeper import StoreFull
from facefact.types import UserError

IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,200}")
IdempotencyKey = Annotated[
    str | None,
    Header(description="the same key and content give the same job, however often they are sent (1 to 200 letters)"),
]
MOST_CREDENTIALS = 4 << 20  # bytes of those of one file
READING = 60.0  # seconds for a card: the process that reads it may just be starting
# The role of an input -> what the decoding process does with it; any other is a photo or a card.
AS = {"template": "template", "layout": "template", "mask": "mask", "clear_mask": "clear_mask", "lora_file": "lora"}


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def metrics_of(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


def owner_of(request: Request) -> str:
    return str(request.scope["state"]["owner"])


async def submit(
    request: Request,
    *,
    kind: str,
    settings: dict[str, Any],
    files: Mapping[str, Sequence[bytes]],
    count: int,
    key: str | None = None,
) -> tuple[Job, bool]:
    """The job, and whether it is new. files: role -> what was uploaded. ApiErrors: beyond the limits, pictures that are
    none, a full queue."""
    service, owner = service_of(request), owner_of(request)
    if key is not None and not IDEMPOTENCY.fullmatch(key):
        raise ApiError(400, "the header Idempotency-Key is 1 to 200 visible ASCII letters", param="Idempotency-Key")
    check_limits(service, settings, count)
    if await run_sync(_is_full, service, owner, key):
        raise too_busy("the queue is full: try again later", await run_sync(_wait, service))
    if "lora_file" in files:
        settings = settings | {"lora_file": hashlib.sha256(files["lora_file"][0]).hexdigest()[:16]}
    ready = {role: [await decoded(request, role, one) for one in several] for role, several in files.items()}
    for template in ready.get("template", []):
        check_markable(service, template)
    digest = hashlib.sha256()
    for role, several in sorted(files.items()):
        for one in several:
            digest.update(f"{role} {hashlib.sha256(one).hexdigest()}\n".encode())
    id = new_id()
    contents: dict[str, list[tuple[str, bytes]]] = {}
    for role, found in ready.items():
        stored = "mask" if role == "clear_mask" else role
        contents[stored] = [(f"{id}/input/{stored}-{i}{one.suffix}", one.content) for i, one in enumerate(found)]
    if service.signs and (kept := await credentials_of(service, files, ready)):
        contents["kept"] = [(f"{id}/input/kept-{i}.c2pa", one) for i, one in enumerate(kept)]
    new = NewJob(
        kind=kind,
        settings=settings,
        inputs={role: [key for key, _ in several] for role, several in contents.items()},
        count=count,
        owner=owner,
        key=key,
        id=id,
        digest=digest.hexdigest(),
    )
    return await run_sync(
        _stored_and_submitted, service, new, [one for several in contents.values() for one in several]
    )


def _stored_and_submitted(service: Service, new: NewJob, files: Sequence[tuple[str, bytes]]) -> tuple[Job, bool]:
    kept = False
    try:
        if service.keeper is not None:
            service.keeper.check_room(sum(len(content) for _, content in files))
        for key, content in files:
            service.store.put(key, content)
        job, kept = service.jobs.submit(new, limit=service.limits.queue)
        return job, kept
    except QueueFull as error:
        raise too_busy(str(error), error.retry_after) from None
    except StoreFull as error:
        raise too_busy(str(error), 60) from None
    except UserError as error:
        raise ApiError(409, str(error), param="Idempotency-Key", code="key_taken") from None
    finally:
        if not kept and files:
            with contextlib.suppress(Exception):  # housekeeping finds it
                service.store.delete_all(new.id)


def _is_full(service: Service, owner: str, key: str | None) -> bool:
    """Looked at before pictures are decoded for nothing; what counts is the look when the row is written. A wish that
    was sent before has its place."""
    full = service.jobs.counts()["queued"] >= service.limits.queue
    return full and (key is None or not service.jobs.knows(key, owner=owner))


def _wait(service: Service) -> float:
    """Seconds for one picture at the measured rate."""
    rate = service.jobs.rate()
    return min(3600.0, 1 / rate) if rate else 30.0


def check_limits(service: Service, settings: Mapping[str, Any], count: int) -> None:
    limits = service.limits
    bounds = {"n": (count, limits.count), "steps": (settings.get("steps") or 1, limits.steps)}
    bounds |= {name: (settings.get(name) or 1, limits.side) for name in ("width", "height")}
    for name, (value, most) in bounds.items():
        if value > most:
            raise ApiError(400, f"{name}: {value} is more than the {most} allowed here", param=name, code="bad_field")
    for name in ("width", "height"):
        if (settings.get(name) or limits.least_side) < limits.least_side:
            line = f"{name}: {settings[name]} is less than the {limits.least_side} from which pictures can be marked"
            raise ApiError(400, line, param=name, code="bad_field")


def check_markable(service: Service, template: Upload) -> None:
    """ApiError: what is made of it has its size, and would be too small for the mark."""
    least = service.limits.least_side
    if template.side < least:
        line = f"template: a side of {template.side} pixels is less than the {least} from which pictures can be marked"
        raise ApiError(400, line, param="template", code="bad_picture")


async def credentials_of(
    service: Service, files: Mapping[str, Sequence[bytes]], ready: Mapping[str, Sequence[Upload]]
) -> list[bytes]:
    """The Content Credentials that came with what was sent, for the pictures that are made of it: only pixels are kept
    of the files themselves. A file whose own kill the process that reads them counts as one without."""
    found: list[bytes] = []
    photo = 0
    for role, several in ready.items():
        for one, content in zip(several, files[role], strict=True):
            photo += role not in AS
            if one.credentials and (role == "template" or role not in AS):
                said = {"title": "template" if role == "template" else f"photo {photo}"}
                with contextlib.suppress(UserError, Died):
                    found += (await run_sync(_keep, service, said, content))[:1]
    return found


def _keep(service: Service, said: dict[str, Any], content: bytes) -> list[bytes]:
    try:
        kept = service.photos.ask("keep", said, [content], seconds=READING)[1]
    except Busy as error:
        raise too_busy(str(error), 5) from None
    return [one for one in kept if len(one) <= MOST_CREDENTIALS]


@dataclass(frozen=True)
class Upload:
    """What is kept of one: a file that ends with `suffix`. side: pixels of the shorter one of the picture that was
    sent, 0 of a card. credentials: whether it seems to have some."""

    suffix: str
    content: bytes = field(repr=False)
    side: int = 0
    credentials: bool = False


async def decoded(request: Request, role: str, content: bytes) -> Upload:
    """ApiError: no picture, or one that kills its decoder."""
    began = time.monotonic()
    service = service_of(request)
    try:
        about, parts = await run_sync(_decode, service, AS.get(role, "face"), content)
        if about.get("suffix") == ".safetensors" and role != "lora_file":
            await run_sync(_read_card, service, content)
    except UserError as error:
        code = "bad_lora" if role == "lora_file" else "bad_picture"
        raise ApiError(400, f"{role}: {error}", param=role, code=code) from None
    except Died as error:
        raise ApiError(400, f"{role}: the picture {error}", param=role, code="bad_picture") from None
    except Busy as error:
        raise too_busy(str(error), 5) from None
    metrics_of(request).stage("upload", time.monotonic() - began)
    suffix, sides = about.get("suffix"), [about.get(name, 0) for name in ("width", "height")]
    known = suffix in (".png", ".safetensors") and all(isinstance(side, int) for side in sides)
    if not known or len(parts) != 1:  # a decoder that was taken over may say anything
        raise ApiError(400, f"{role}: the picture cannot be used", param=role, code="bad_picture")
    return Upload(str(suffix), parts[0], min(sides), bool(about.get("manifest")))


def _read_card(service: Service, content: bytes) -> None:
    service.photos.ask("read", {}, [content], seconds=READING)


def _decode(service: Service, what: str, content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    return service.decoders.ask(what, {}, [content], seconds=service.limits.decode_seconds)
