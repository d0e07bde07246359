"""Jobs become pictures, with a Studio: several portraits as one batch, templates and groups one after the other.

What is made lies in the store, whole, before the table hears of it: a job that is made a second time, because nobody
knows how far its first worker came, takes what is there. (The same settings give the same picture, so it is the one;
unless this worker has to sign or mark and the first had not: then it is made again.)
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from facefact.apps.service import wishes
from facefact.apps.service.parts import parts_for
from facefact.apps.service.photos import nobody, photos_of, tokens_of, warnings_into
from facefact.apps.service.records import Job
from facefact.apps.service.scenes import Scene, group_scene, numbered, template_scene
from facefact.apps.service.store import Store, StoreGone
from facefact.generate import Settings, Studio, read_recipe
from facefact.generate.provenance import NO_PROVENANCE, Provenance, refuse_unmarkable, save_with, wanting
from facefact.types import FaceTokens, Portrait, UserError

log = logging.getLogger("facefact.service")

OURS = "an error of the service, which its log tells of: it may be worth another try"


class Stop(Exception):  # noqa: N818  (it is no error)
    """Raised from a step, when nobody wants the pictures any more or the worker is to end."""


class Watch(Protocol):
    """Who is told how the work goes, between two steps: it may raise Stop."""

    def step(self, progress: dict[str, float]) -> None:
        """progress: of each job that is being made, 0 to 1."""

    def preview(self, id: str, number: int, image: Image.Image) -> None:
        """What is to be seen of picture `number` of a job."""


@dataclass(frozen=True)
class Made:
    """How a job ended. results: keys of its pictures. reason: one line why there are none, None where they are."""

    job: Job
    results: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    reason: str | None = None


@dataclass(frozen=True)
class Ready:
    """A portrait job whose person was found. missing: numbers of the pictures that are not in the store yet. kept: the
    Content Credentials that its photos came with."""

    job: Job
    settings: Settings
    tokens: FaceTokens
    origin: dict[str, Any]
    missing: list[int]
    warnings: list[str]
    kept: Sequence[bytes] = ()


class Maker:
    """batch: pictures that are painted at a time. provenance: how they are signed and marked. UserErrors and errors end
    the job that they are of, in one line; StoreGone and Stop end the call: what was not given out by then is to be made
    another time."""

    def __init__(
        self,
        studio: Studio,
        store: Store,
        watch: Watch,
        *,
        batch: int = 4,
        provenance: Provenance = NO_PROVENANCE,
    ) -> None:
        self.studio, self.store, self.watch, self.batch, self.provenance = studio, store, watch, batch, provenance

    def make(self, jobs: Sequence[Job]) -> Iterator[Made]:
        """Each of the jobs as soon as its last picture is in the store. jobs: as they were claimed together."""
        ready: list[Ready] = []
        for job in jobs:
            if job.kind != "portrait":
                yield self._ended(job, self._scene)
                continue
            outcome = self._ended(job, self._prepare)
            if isinstance(outcome, Ready):
                ready.append(outcome)
            else:
                yield outcome
        yield from self._portraits(ready)

    def _ended(self, job: Job, make: Callable[[Job, list[str]], Any]) -> Any:
        """What `make` returns, or how the job failed. It gets a list for the warnings."""
        warnings: list[str] = []
        try:
            with warnings_into(warnings):
                return make(job, warnings)
        except (Stop, StoreGone):
            raise
        except UserError as error:
            return Made(job, [], warnings, str(error))
        except Exception:
            log.exception("job %s failed", job.id)
            return Made(job, [], warnings, OURS)

    def _prepare(self, job: Job, warnings: list[str]) -> Ready | Made:
        """The person is found, if there is anything to make."""
        wishes.check(job.kind, job.settings)
        if not (missing := self._missing(job)):
            return Made(job, self._keys(job), warnings)
        if not job.inputs and job.settings.get("scale") == 0:
            settings = self._settings(job)
            return Ready(job, settings, nobody(self.studio), {}, missing, warnings)
        with photos_of(job, self.store) as photos:
            try:
                person = self.studio.find_person(photos.people["face"], which=job.settings.get("which") or 0)
                settings = self._settings(job)
                if not (self.studio.exact_prompt or job.settings.get("exact_prompt")):
                    (prompt,) = person.prompts([settings.prompt])
                    settings = replace(settings, prompt=prompt)
                tokens = tokens_of(self.studio, person)
            except KeyError:
                raise UserError("say who is to be seen: a photo of the person, as `face`") from None
            except UserError as error:
                raise UserError(photos.without_paths(str(error))) from error
            finally:
                warnings[:] = map(photos.without_paths, warnings)
            kept = photos.credentials
        style = {"style": job.settings["style"]} if job.settings.get("style") else {}
        return Ready(job, settings, tokens, person.origin | style, missing, warnings, kept)

    def _settings(self, job: Job) -> Settings:
        settings = wishes.settings_of(self.studio, Settings, job.settings)
        if self.provenance.watermark:
            refuse_unmarkable(self.studio.pipe, settings)
        return settings

    def _portraits(self, ready: list[Ready]) -> Iterator[Made]:
        """All in one batch; where that fails, each alone, so that one fails for its own reasons only."""
        if len(ready) > 1:
            made: set[str] = set()
            try:
                for one in self._painted(ready):
                    made.add(one.job.id)
                    yield one
                return
            except (Stop, StoreGone):
                raise
            except Exception as error:
                log.warning("a batch of %d jobs failed (%s): each alone", len(ready), type(error).__name__)
            ready = [one for one in ready if one.job.id not in made]
        for own in ready:
            yield self._ended(own.job, partial(self._alone, own))

    def _alone(self, own: Ready, job: Job, warnings: list[str]) -> Made:
        with contextlib.closing(self._painted([own])) as made:
            return next(made)

    def _painted(self, ready: Sequence[Ready]) -> Generator[Made, None, None]:
        with parts_for(self.studio, ready[0].job, self.store):  # (equal in a batch)
            yield from self._painted_so(ready)

    def _painted_so(self, ready: Sequence[Ready]) -> Generator[Made, None, None]:
        """With the parts that the Studio has now."""
        wanted = [(one, k) for one in ready for k in one.missing]
        left = {one.job.id: len(one.missing) for one in ready}
        said: list[str] = []

        def seen(number: int, image: Image.Image) -> None:
            one, k = wanted[number]
            self.watch.preview(one.job.id, k, image)

        with warnings_into(said):
            portraits = self.studio.text_to_images(
                [one.tokens for one, _ in wanted],
                [numbered(one.settings, k) for one, k in wanted],
                batch=self.batch,
                origin=[one.origin for one, _ in wanted],
                exact_prompt=bool(ready[0].job.settings.get("exact_prompt")),  # (equal in a batch)
                on_step=_Steps(self.watch, ready, wanted, self.batch),
                on_preview=seen,
            )
        for one, k in wanted:
            with warnings_into(said):
                portrait = next(portraits)
            self._save(one.job, k, portrait, replace(self.provenance, kept=one.kept))
            left[one.job.id] -= 1
            if not left[one.job.id]:
                yield Made(one.job, self._keys(one.job), [*one.warnings, *said])

    def _scene(self, job: Job, warnings: list[str]) -> Made:
        wishes.check(job.kind, job.settings)
        missing = self._missing(job)
        if missing:
            with photos_of(job, self.store) as photos, parts_for(self.studio, job, self.store):
                try:
                    scene = (template_scene if job.kind == "template" else group_scene)(self.studio, job, photos)
                    given = replace(self.provenance, template=photos.one("template"), kept=photos.credentials)
                    for k in missing:
                        self._save(job, k, scene.paint(k, self._counted(job, scene, k)), given)
                except UserError as error:
                    raise UserError(photos.without_paths(str(error))) from error
                finally:
                    warnings[:] = map(photos.without_paths, warnings)
        return Made(job, self._keys(job), warnings)

    def _counted(self, job: Job, scene: Scene, k: int) -> Callable[[], None]:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            self.watch.step({job.id: (k + min(1.0, done / scene.steps)) / job.count})

        return step

    def _keys(self, job: Job) -> list[str]:
        return [f"{job.id}/{k}{wishes.suffix_of(job.settings)}" for k in range(job.count)]

    def _missing(self, job: Job) -> list[int]:
        """Numbers of the pictures that no earlier attempt has left in the store as they are to be."""
        return [k for k, key in enumerate(self._keys(job)) if not self._is_made(key)]

    def _is_made(self, key: str) -> bool:
        if not self.store.exists(key):
            return False
        if self.provenance.signer is None and not self.provenance.watermark:
            return True
        with tempfile.TemporaryDirectory(prefix="facefact-") as folder, contextlib.suppress(UserError):
            path = Path(folder) / Path(key).name
            path.write_bytes(self.store.get(key))
            return not wanting(path, read_recipe(path), self.provenance)
        return False

    def _save(self, job: Job, k: int, portrait: Portrait, provenance: Provenance) -> None:
        """Into the store, with its recipe, signed and marked as is asked. StoreGone: no room."""
        key = self._keys(job)[k]
        try:
            with tempfile.TemporaryDirectory(prefix="facefact-") as folder:
                path = Path(folder) / Path(key).name
                save_with(provenance, portrait, path)
                data = path.read_bytes()
        except OSError as error:
            raise StoreGone(f"no room for a picture: {error.strerror}") from error
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                raise StoreGone(f"no room for a picture: {error.__cause__.strerror}") from error
            raise UserError(str(error).removeprefix(f"{path}: ")) from error
        self.store.put(key, data)


class _Steps:
    """What is called after each step of a batch: how far each job is."""

    def __init__(self, watch: Watch, ready: Sequence[Ready], wanted: Sequence[tuple[Ready, int]], batch: int) -> None:
        self.watch, self.ids, self.done = watch, [one.job.id for one in ready], 0
        self.all = ready[0].settings.steps * math.ceil(len(wanted) / batch)

    def __call__(self) -> None:
        self.done += 1
        self.watch.step(dict.fromkeys(self.ids, min(1.0, self.done / self.all)))
