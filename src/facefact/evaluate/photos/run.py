"""`facefact eval photos`: methods side by side on one's own people and prompts, with a model of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facefact.evaluate.causal.generators import Generator, paints_nobody
from facefact.evaluate.photos.figures import (
    WORDS,
    Judge,
    Known,
    Seen,
    changes,
    figures,
    photos_themselves,
    preserved,
    seen_of,
)
from facefact.evaluate.photos.layout import Layout
from facefact.evaluate.photos.paint import Wanted, pictures, wanted, without_anybody
from facefact.evaluate.pictures import Progress
from facefact.evaluate.report.record import Report, Tile, beside
from facefact.metrics.resampling import Pictures, pooled
from facefact.metrics.scores import Figure
from facefact.types import UserError

THEMSELVES = "other photos of the people"
LESS = ("cos_own", "cos_true", "rank1", "copy_paste", "text", "outside_change", "no_face")
WORST = 12  # pictures of a gallery
HIGH = 256  # pixels, at most, of a gallery's pictures


@dataclass(frozen=True)
class Painted:
    """One method's pictures: of the people, and of prompts without one (none where it cannot make them)."""

    name: str
    shown: Sequence[np.ndarray]
    nobody: Sequence[np.ndarray]


@dataclass(frozen=True)
class PhotoSuite:
    """each: pictures of a person and prompt. decides: by method, what its pictures hang on besides their requests."""

    layout: Layout
    judge: Judge
    out: Path
    decides: Mapping[str, Any]
    each: int = 4
    seed: int = 1
    at_once: int = 20
    progress: Progress | None = None

    @property
    def asked(self) -> list[Wanted]:
        return wanted(self.layout, each=self.each, seed=self.seed)

    @property
    def nobody(self) -> list[Wanted]:
        return without_anybody(self.layout, each=self.each, seed=self.seed)

    def paint(self, generator: Generator) -> Painted:
        decides = {"seed": self.seed, "each": self.each, "prompts": self.layout.prompts, "of": self.decides}
        decides |= {"without": self.layout.without, "people": [one.name for one in self.layout.people]}

        def made(asked: Sequence[Wanted]) -> Sequence[np.ndarray]:
            folder, layout = self.out / "pictures", self.layout
            return pictures(generator, asked, layout, folder, decides, at_once=self.at_once, progress=self.progress)

        return Painted(generator.name, made(self.asked), made(self.nobody) if paints_nobody(generator) else [])


def run_photos(suite: PhotoSuite, generators: Sequence[Generator], base: Generator, about: Mapping[str, Any]) -> Report:
    """Paint what lacks, judge, and say it as a report. base: what change, preservation and text are measured against;
    may be one of the generators. UserError: two methods have one name."""
    names = [one.name for one in generators]
    if len(set(names)) < len(names) or THEMSELVES in names:
        raise UserError(f"methods need names of their own: {', '.join(names)}")
    known, before = Known.of(suite.layout, suite.judge), suite.paint(base)
    seen: dict[str, Seen] = {}
    methods: dict[str, dict[str, Figure]] = {}
    galleries: dict[str, tuple[Tile, ...]] = {}
    base_seen = seen_of(before.shown, suite.asked, suite.layout, known, suite.judge)
    for generator in generators:
        painted = before if generator is base else suite.paint(generator)
        mine = base_seen if generator is base else judged(suite, painted, before, base_seen, known)
        seen[painted.name] = mine
        found = figures(mine, suite.asked, known) | sets(suite, painted, before, mine, base_seen)
        methods[painted.name] = found | less(suite, mine, next(iter(seen.values())))
        galleries[f"{painted.name}: least like the person"] = worst(suite, painted, mine)
    if themselves := photos_themselves(known):
        methods[THEMSELVES] = themselves
    return Report("one's own people and prompts", about, methods, WORDS, galleries=galleries)


def judged(suite: PhotoSuite, painted: Painted, before: Painted, base: Seen, known: Known) -> Seen:
    mine = seen_of(painted.shown, suite.asked, suite.layout, known, suite.judge)
    return replace(mine, samples=mine.samples | changes(painted.shown, mine, before.shown, base, suite.judge))


def sets(suite: PhotoSuite, painted: Painted, before: Painted, mine: Seen, base: Seen) -> dict[str, Figure]:
    """Both distances to the base model's pictures, where there is a CLIP."""
    clip = suite.judge.clip
    if clip is None or mine.features is None or base.features is None:
        return {}
    found = {"kid": preserved(mine.features, base.features, suite.asked)}
    if painted.nobody and before.nobody:
        both = clip.pictures(painted.nobody), clip.pictures(before.nobody)
        found["kid_nobody"] = preserved(*both, suite.nobody)
    return {name: one for name, one in found.items() if one is not None}


def less(suite: PhotoSuite, mine: Seen, first: Seen) -> dict[str, Figure]:
    if mine is first:
        return {}
    of, found = Pictures(np.array([one.person for one in suite.asked])), {}
    for name in mine.samples:
        if name.split(".")[0] in LESS and name in first.samples:
            apart = mine.samples[name] - first.samples[name]
            if np.isfinite(apart).any():
                found[f"less.{name}"] = pooled(apart, of)
    return found


def worst(suite: PhotoSuite, painted: Painted, mine: Seen) -> tuple[Tile, ...]:
    """The reference beside the picture, by rising cosine of the first recogniser."""
    cosine = next(values for name, values in mine.samples.items() if name.startswith("cos_own."))
    tiles = []
    for i in np.argsort(cosine, kind="stable")[:WORST]:
        one = suite.asked[i]
        who = suite.layout.people[one.person]
        pair = beside(_small(painted.shown[i]), who.photos[0].picture)
        tiles.append(Tile(pair, f"{who.name}: cosine {cosine[i]:.2f}", one.request.prompt))
    return tuple(tiles)


def _small(picture: np.ndarray) -> np.ndarray:
    step = -(-picture.shape[0] // HIGH)
    return picture if step == 1 else np.ascontiguousarray(picture[::step, ::step])
