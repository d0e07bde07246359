"""The blocking client."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from facefact.client.wire import Photo, Photos, events_in, form, line, message, seconds, warned
from facefact.types import UserError

FINISHED = ("done", "failed", "cancelled", "expired")
ATTEMPTS = 5  # to reach the service; each after twice as long a pause
LOOK = 0.5  # seconds between two looks, where events do not come through


class Cancelled(UserError):
    """The job was cancelled."""


@dataclass
class Job:
    """One job of the service, as it was when it was last looked at. said: what the service says of it."""

    client: Client
    said: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.said["id"])

    @property
    def state(self) -> str:
        """queued, running, done, failed, cancelled, expired"""
        return str(self.said["state"])

    @property
    def progress(self) -> float:
        """0 to 1"""
        return float(self.said["progress"])

    @property
    def position(self) -> int | None:
        """How many wait before it; None if it does not wait."""
        found: int | None = self.said["position"]
        return found

    @property
    def warnings(self) -> list[str]:
        return list(self.said["warnings"])

    def refresh(self) -> Job:
        """Looks again; itself."""
        self.said = self.client._json("GET", self.said["links"]["self"])
        return self

    def events(self, *, after: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """What becomes of it, as it comes, until it is finished: ("state" | "progress" | "preview", what). A connection
        that breaks is taken up where it was."""
        last = after
        while True:
            with self.client._open("GET", self.said["links"]["events"], headers={"Last-Event-ID": str(last)}) as answer:
                for number, name, what in events_in(answer):
                    last = number
                    yield name, what
                    if name == "state" and what["state"] in FINISHED:
                        return
            if self.refresh().state in FINISHED:
                return
            time.sleep(LOOK)

    def wait(self, *, progress: bool = True, stop: threading.Event | None = None) -> Job:
        """Until it is finished; itself. progress: under a bar. stop: when it is set the job is cancelled. UserError: it
        failed, in the service's words. Cancelled."""
        with _bar(progress) as bar:
            for name, what in self.events() if self.state not in FINISHED else ():
                if stop is not None and stop.is_set():
                    self.cancel()
                    raise Cancelled(f"job {self.id} was cancelled")
                if name == "progress":
                    bar(what["progress"])
            self.refresh()
            bar(self.progress)
        if self.state == "cancelled":
            raise Cancelled(f"job {self.id} was cancelled")
        if self.state != "done":
            raise UserError(self.said["reason"] or f"job {self.id} is {self.state}")
        return self

    def images(self) -> list[bytes]:
        """The files of its pictures, each with its recipe inside; none before it is done."""
        return [self.client._bytes("GET", link) for link in self.said["links"]["images"]]

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes its pictures, as <id>-<number>.<format>."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        found = []
        for number, link in enumerate(self.said["links"]["images"]):
            path = Path(folder) / f"{self.id}-{number}{Path(link).suffix}"
            path.write_bytes(self.client._bytes("GET", link))
            found.append(path)
        return found

    def cancel(self) -> Job:
        """It stops at the next step; nothing happens to a finished one."""
        if self.refresh().state not in FINISHED:
            self.said = self.client._json("DELETE", self.said["links"]["self"])
        return self

    def forget(self) -> None:
        """Cancels it, and deletes its pictures and the photos that were sent."""
        self.cancel()
        self.client._json("DELETE", self.said["links"]["self"])


@dataclass
class Client:
    """url: of the service, as `facefact serve` prints it. key: where it asks for one. timeout: seconds without a sign
    of life after which a connection counts as broken. patience: seconds to come again where the queue is full.

    A call may be made from any thread: each has a connection of its own. UserErrors: what the service says is wrong, or
    that it cannot be reached.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{self.url!r} is no address of a service: http://127.0.0.1:8188, for instance")

    # What makes pictures

    def portraits(self, *, face: Photos, prompt: str, wait: bool = True, progress: bool = True, **settings: Any) -> Job:
        """Portraits of one person. face: photos (files, or their bytes) and identity cards. settings: n, seed, steps,
        scale, negative_prompt, ... as `/docs` of the service lists them; lora_file: a LoRA to send along."""
        return self._made("portraits", {"face": face}, {"prompt": prompt} | settings, wait, progress)

    def templates(
        self,
        *,
        template: Photo,
        prompt: str,
        face: Photos | None = None,
        put: Mapping[int, Photos] | None = None,
        mask: Photo | None = None,
        wait: bool = True,
        progress: bool = True,
        **settings: Any,
    ) -> Job:
        """The template with faces replaced. face: who takes the place of the face `which`; or put: number of a face, 0
        is the largest -> who takes its place. mask: white where the picture may change."""
        files: dict[str, Photos | None] = {"template": template, "face": face, "mask": mask}
        files |= {f"put.{number}": photos for number, photos in (put or {}).items()}
        return self._made("templates", files, {"prompt": prompt} | settings, wait, progress)

    def groups(
        self,
        *,
        put: Mapping[int, Photos] | Sequence[Photos],
        prompt: str,
        boxes: Mapping[int, Sequence[float]] | None = None,
        words: Mapping[int, str] | None = None,
        template: Photo | None = None,
        layout: Photo | None = None,
        wait: bool = True,
        progress: bool = True,
        **settings: Any,
    ) -> Job:
        """Several people in one picture. put: their photos, by number. boxes: where each is, (left, top, right, bottom)
        in shares of the picture; or a template with faces, or a layout; else they are found from left to right. words:
        a prompt of one person's own."""
        people = put if isinstance(put, Mapping) else dict(enumerate(put))
        files: dict[str, Photos | None] = {f"put.{number}": photos for number, photos in people.items()}
        files |= {"template": template, "layout": layout}
        texts = {f"box.{number}": ",".join(map(str, box)) for number, box in (boxes or {}).items()}
        texts |= {f"words.{number}": text for number, text in (words or {}).items()}
        return self._made("groups", files, {"prompt": prompt} | texts | settings, wait, progress)

    def submit(self, path: str, files: Mapping[str, Photos | None], fields: Mapping[str, Any]) -> Job:
        """Any job by its form: path: portraits, templates, groups; files, fields: as `/docs` of the service lists
        them."""
        body, kind = form(fields, files)
        headers = {"Content-Type": kind, "Idempotency-Key": secrets.token_hex(16)}
        return Job(self, self._json("POST", f"/v1/{path}", body=body, headers=headers))

    def _made(
        self, path: str, files: Mapping[str, Photos | None], fields: Mapping[str, Any], wait: bool, progress: bool
    ) -> Job:
        sent = {name: value for name, value in fields.items() if name == "lora_file"}
        job = self.submit(path, {**files, **sent}, {name: value for name, value in fields.items() if name not in sent})
        return job.wait(progress=progress) if wait else job

    # What looks

    def faces(self, face: Photo, *, which: int = 0, draw: bool = False) -> dict[str, Any]:
        """The faces in a photo, the largest first, and what speaks against them."""
        body, kind = form({"which": which, "draw": draw}, {"face": face})
        return self._json("POST", "/v1/faces", body=body, headers={"Content-Type": kind})

    def cards(self, *, face: Photos, warnings: list[str] | None = None, **said: Any) -> bytes:
        """An identity card of photos of one person, usable wherever a photo is. said: name, consent, expires,
        thumbnail, which. warnings: gets what speaks against the photos. It is biometric data: keep it as you would the
        photos."""
        return self._card("/v1/cards", form(said, {"face": face}), warnings)

    def merge(self, cards: Photos, *, name: str = "", warnings: list[str] | None = None) -> bytes:
        """One card of all photos of several cards of one person."""
        return self._card("/v1/cards/merge", form({"name": name}, {"card": cards}), warnings)

    def look(self, card: Photo) -> dict[str, Any]:
        """What a card says."""
        body, kind = form({}, {"card": card})
        return self._json("POST", "/v1/cards/look", body=body, headers={"Content-Type": kind})

    def _card(self, path: str, sent: tuple[bytes, str], warnings: list[str] | None) -> bytes:
        with self._open("POST", path, body=sent[0], headers={"Content-Type": sent[1]}) as answer:
            if warnings is not None:
                warnings += warned(answer)
            return answer.read()

    def likeness(self, *, face: Photos, picture: Photos) -> list[dict[str, Any]]:
        """How like the person of the photos (or cards) each picture is: {"similarity", "likeness", "words"}."""
        body, kind = form({}, {"face": face, "picture": picture})
        return list(self._json("POST", "/v1/likeness", body=body, headers={"Content-Type": kind})["data"])

    def models(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "/v1/models")["data"])

    def styles(self) -> list[dict[str, Any]]:
        return list(self._json("GET", "/v1/styles")["data"])

    def loras(self) -> list[str]:
        """The names of those that can be asked for (`lora=`)."""
        return [str(one["name"]) for one in self._json("GET", "/v1/loras")["data"]]

    def jobs(self, kind: str = "portraits", *, state: str | None = None) -> Iterator[Job]:
        """Your portraits, templates or groups, the newest first."""
        before: str | None = None
        while True:
            asked = {name: value for name, value in (("state", state), ("before", before)) if value}
            page = self._json("GET", f"/v1/{kind}?{urlencode(asked)}")
            yield from (Job(self, said) for said in page["data"])
            before = page["before"]
            if before is None:
                return

    def job(self, id: str, kind: str = "portraits") -> Job:
        """One of them, by its id."""
        return Job(self, self._json("GET", f"/v1/{kind}/{quote(id, safe='')}"))

    # HTTP

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._bytes(method, path, **more))
        return found

    def _bytes(self, method: str, path: str, **more: Any) -> bytes:
        with self._open(method, path, **more) as answer:
            return answer.read()

    def _open(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[IO[bytes]]:
        """The answer, to be read. A full queue is waited for; what breaks is tried again (a job has its key, and all
        else does not change anything)."""
        until, attempt = time.monotonic() + self.patience, 0
        while True:
            try:
                answer = self._ask(method, path, body, dict(headers or {}))
            except (OSError, http.client.HTTPException) as error:
                attempt += 1
                if attempt >= ATTEMPTS or method == "DELETE":
                    raise UserError(f"the service at {self.url} does not answer ({line(error)})") from error
                time.sleep(0.1 * 2**attempt)
                continue
            if answer.status < 400:
                return answer
            wait = seconds(answer)
            if answer.status not in (429, 503) or time.monotonic() + wait > until:
                raise UserError(message(answer))
            answer.close()
            time.sleep(wait)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        headers["Connection"] = "close"  # the answer holds the connection, and ends it
        connection.request(method, parts.path.rstrip("/") + path, body=body, headers=headers)
        return connection.getresponse()


def _bar(shown: bool) -> AbstractContextManager[Callable[[float], None]]:
    """What is told how far it is, 0 to 1."""
    if not shown:
        return nullcontext(lambda share: None)
    return _Bar()


class _Bar:
    def __enter__(self) -> Callable[[float], None]:
        from tqdm import tqdm

        self.bar = tqdm(total=100, unit="%", bar_format="{l_bar}{bar}| {elapsed}")
        return self._to

    def _to(self, share: float) -> None:
        self.bar.update(max(0, round(100 * share) - self.bar.n))

    def __exit__(self, *error: object) -> None:
        self.bar.close()
