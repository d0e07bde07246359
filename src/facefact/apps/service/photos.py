"""The photos of a job, from the store onto this machine for as long as they are looked at, and who is in them."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from facefact.apps.service.records import Job
from facefact.apps.service.store import Store, StoreGone
from facefact.generate import Person, Studio
from facefact.types import FaceTokens, UserError


@dataclass(frozen=True)
class Photos:
    """The files of a job, by role: "face", "template", "mask", "put.0", ..."""

    folder: Path
    files: Mapping[str, list[Path]]

    def one(self, role: str) -> Path | None:
        """The only file of a role; None where there is none."""
        return next(iter(self.files.get(role, [])), None)

    @property
    def people(self) -> dict[str, list[Path]]:
        """The photos of each person by their role ("face", "put.0", ...), in the order of the numbers. UserError:
        nobody."""
        named = sorted((role for role in self.files if role.startswith("put.")), key=number_of)
        roles = [role for role in ("face", *named) if self.files.get(role)]
        if not roles:
            raise UserError("say who is to be seen: a photo of the person")
        return {role: self.files[role] for role in roles}

    @property
    def credentials(self) -> list[bytes]:
        """The Content Credentials that came with what was sent, as `signing.keep_manifest` takes them."""
        return [path.read_bytes() for path in self.files.get("kept", [])]

    def without_paths(self, text: str) -> str:
        """A message for who sent the photos: one line, and no path of this machine."""
        return " ".join(text.replace(f"{self.folder}/", "").split())


def number_of(role: str) -> int:
    """put.3 -> 3. UserError: no number."""
    number = role.removeprefix("put.")
    if not number.isdecimal():
        raise UserError(f"{role}: write put.N, N the number of a face as they are counted, from 0, the largest first")
    return int(number)


@contextlib.contextmanager
def photos_of(job: Job, store: Store) -> Iterator[Photos]:
    """Inside, the job's inputs are files, named by role and number. UserError: they are not in the store any more.
    StoreGone: there is no room for them, or the store does not answer."""
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facefact-")))
            files = {
                role: [_fetch(store, key, folder / role, i) for i, key in enumerate(keys)]
                for role, keys in job.inputs.items()
            }
        except OSError as error:
            raise StoreGone(f"no room to look at the photos: {error.strerror}") from error
        yield Photos(folder, files)


def _fetch(store: Store, key: str, folder: Path, number: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{number}{Path(key).suffix}"
    try:
        path.write_bytes(store.get(key))
    except KeyError:
        raise UserError("the photos of this job are gone: send them again") from None
    return path


def tokens_of(studio: Studio, person: Person) -> FaceTokens:
    return studio.tokens(person)


@contextlib.contextmanager
def warnings_into(said: list[str]) -> Iterator[None]:
    """What the library warns of inside goes into the list, and not into the log, which holds no prompts and no names of
    files. Of this process's other threads too: a worker has one that paints."""
    log, handler = logging.getLogger("facefact"), _Keeping(said)
    propagated, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagated


def for_callers(warning: str) -> str:
    """Without the command line's options, which nobody has here; `exact_prompt` is a field of the API too."""
    return re.sub(r" \(--[^)]*\)", "", warning.replace("(--exact-prompt:", "(exact_prompt:"))


class _Keeping(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        text = for_callers(" ".join(record.getMessage().removeprefix("warning: ").split()))
        if not record.name.startswith("facefact.service") and text not in self.said:
            self.said.append(text)


def nobody(studio: Studio) -> FaceTokens:
    """What the adapter sees where there is no face: for pictures of nobody in particular, at scale 0."""
    null = studio.adapter.null_tokens(1)
    return FaceTokens(null, null)
