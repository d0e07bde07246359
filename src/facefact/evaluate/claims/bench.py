"""One protocol for all methods of `facefact eval claims`: their pictures, and what the judges say of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.demo import BUNDLE
from facefact.evaluate.ablation import remembered
from facefact.evaluate.causal.reading import Reader
from facefact.evaluate.claims.plan import Measured, Method, Run
from facefact.evaluate.face_error import other_errors
from facefact.evaluate.judges import Judges
from facefact.evaluate.naive import from_the_reference
from facefact.evaluate.pictures import Painter, Progress
from facefact.evaluate.protocol import Case, Protocol
from facefact.evaluate.suite import Gallery, features, judged, no_dark_glasses, spread_of
from facefact.evaluate.world import Samples
from facefact.face_adapter import FaceAdapter
from facefact.generate import model_hash
from facefact.metrics.decoupling import change_map, locality
from facefact.metrics.scores import change_outside
from facefact.train.adapter.opened import EMBEDDED
from facefact.train.peers.decoupled import open_adapter
from facefact.types import FaceTokens
from facefact.world import CHOICES, Look, held_out_seed, look, render

VERSION = 2  # of what is said of a picture: what was remembered of another one is judged again
RENDERS = 600  # that the reader of the person's numbers is fitted on
CELLS = 32  # of a side of a map of change
PARTS = ("features", "change", "spread", "nobody")  # of `Said`, besides its samples


@dataclass(frozen=True)
class Said:
    """What is said of one run's pictures at one scale. samples: by figure (cases,). features: (cases, d), see
    `suite.features`. change: (CELLS, CELLS) mean change (0..255) against the base model's pictures, by place. At the
    table's scale alone: spread: (people,) of those that several faces were made of; nobody: (cases, d) features of
    pictures with the null face (empty where there is none)."""

    samples: Samples
    features: np.ndarray
    change: np.ndarray
    spread: np.ndarray
    nobody: np.ndarray

    def as_json(self) -> dict[str, Any]:
        samples = {name: values.tolist() for name, values in self.samples.items()}
        return {"samples": samples, **{name: np.round(getattr(self, name), 5).tolist() for name in PARTS}}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Said:
        samples = {name: np.array(values, np.float64) for name, values in tree["samples"].items()}
        return cls(samples, *(np.array(tree[name], np.float64) for name in PARTS))


@dataclass(frozen=True)
class Bench:
    """gallery: whose pictures, and of which prompts. base: what the base model makes. limits: the face errors that are
    the scale's 0 and 1. true_spread: (people,), as `Said.spread`, of renders."""

    asked: Measured
    gallery: Gallery
    judges: Judges
    reader: Reader
    opened: Painter
    base: np.ndarray
    limits: Mapping[str, np.ndarray]
    true_spread: np.ndarray
    about: Mapping[str, Any]

    @classmethod
    def open(cls, asked: Measured, judges_dir: Path, device: str | torch.device, progress: Progress | None) -> Bench:
        gallery = Gallery.of(asked.seed, people=asked.people, per_person=1, faces=asked.faces)
        judges = Judges.open(judges_dir, BUNDLE)
        reader = Reader.fit(judges, people=RENDERS, looks=no_dark_glasses)
        opened = Painter.open(BUNDLE, asked.sampling(asked.scale), device=device, progress=progress)
        plan = gallery.plan
        real = np.stack([render(plan.people[case.own], case.wanted).image for case in plan.cases])
        least = judged(opened.reconstruct(real), plan, judges, reader)["face_error"]
        limits = {"least": least, "other": other_errors(plan.cases, plan.people)}
        models = {"base": model_hash(BUNDLE), "judges": model_hash(judges_dir / "recogniser")}
        about = {name: getattr(asked, name) for name in ("people", "seed", "steps", "guidance_scale", "faces")}
        return cls(
            asked,
            gallery,
            judges,
            reader,
            opened,
            opened.base(plan.cases),
            limits,
            spread_of(judges, gallery.true_several, asked.faces),
            about | {"models": models, "version": VERSION},
        )

    @property
    def cases(self) -> Protocol:
        return self.gallery.plan

    def seen(self, pictures: np.ndarray) -> np.ndarray:
        """(n, d) features."""
        return features(self.judges, pictures)

    def adapter_of(self, run: Run, method: Method) -> FaceAdapter | None:
        """The trained one, the one that is there, or none."""
        if run.config is not None:
            return open_adapter(run.training / "adapter")
        return open_adapter(EMBEDDED.get(method.adapter, method.adapter)) if method.way == "there" else None

    def said(self, run: Run, method: Method, adapter: FaceAdapter | None, scale: float) -> Said:
        """Of one run's pictures; remembered beside its training."""
        title = f"{run.method}, seed {run.seed}, scale {scale:g}"

        def make() -> dict[str, Any]:
            pictures = self.pictures(self.cases, method, adapter, scale, title)
            seen, change = self.seen(pictures), change_map(pictures, self.base, CELLS)
            more = [np.zeros(0), np.zeros(0)]
            if scale == self.asked.scale:
                more = [self.spread(method, adapter, title), self.nobody(adapter, seen, method, title)]
            return Said(self.figures_of(pictures), seen, change, *more).as_json()

        decides = dict(self.about) | self.decided_by(method, adapter, scale)
        return Said.from_json(remembered(run.folder / f"judged_{scale:g}.json", decides, make))

    def spread(self, method: Method, adapter: FaceAdapter | None, title: str) -> np.ndarray:
        """(people,)."""
        made = self.pictures(self.several, method, adapter, self.asked.scale, f"{title}, over seeds")
        return spread_of(self.judges, made, self.asked.faces)

    def nobody(self, adapter: FaceAdapter | None, seen: np.ndarray, method: Method, title: str) -> np.ndarray:
        """(cases, d): with the null face in the person's place; of the base model, as ever; of what has none, empty."""
        if adapter is None:
            return seen if method.way == "base" else np.zeros(0)
        null = adapter.null_tokens(method.photos).detach().expand(len(self.cases.people), -1, -1)
        made = self.painter(self.asked.scale).adapted(
            self.cases.cases, adapter, FaceTokens(null, null), title=f"{title}, nobody"
        )
        return self.seen(made)

    def painter(self, scale: float) -> Painter:
        sampling = self.asked.sampling(scale)
        return Painter(self.opened.pipe, sampling, self.opened.progress)

    def decided_by(self, method: Method, adapter: FaceAdapter | None, scale: float) -> dict[str, Any]:
        """What else a method's pictures hang on."""
        decides: dict[str, Any] = {"way": method.way, "scale": scale, "photos": method.photos}
        if method.way == "image_to_image":
            decides["strength"] = method.strength
        if adapter is not None:
            decides["adapter"] = adapter.content_hash()
        return decides

    @property
    def several(self) -> Protocol:
        """`asked.faces` cases with one prompt for each of the first people."""
        plan, faces = self.cases, self.asked.faces
        cases = tuple(
            Case(plan.cases[i // faces].own, plan.cases[i // faces].wanted, one.prompt, one.seed)
            for i, one in enumerate(self.gallery.several)
        )
        return Protocol(plan.people, plan.looks, plan.references, cases)

    def pictures(
        self, plan: Protocol, method: Method, adapter: FaceAdapter | None, scale: float, title: str
    ) -> np.ndarray:
        """(cases, h, w, 3) uint8."""
        painter = self.painter(scale)
        if method.way == "image_to_image":
            return from_the_reference(painter, plan, strength=method.strength, title=title)
        if adapter is None:
            return self.base if plan is self.cases else painter.base(plan.cases, title)
        tokens = tokens_of(adapter, plan, self.judges, photos=method.photos)
        return painter.adapted(plan.cases, adapter, tokens, title=title)

    def figures_of(self, pictures: np.ndarray) -> Samples:
        """`FIGURES` of each picture, (cases,) each, and each of the ten factors; NaN where one asks nothing."""
        found = judged(pictures, self.cases, self.judges, self.reader)
        inside = self.judges.faces(self.base) | self.judges.faces(pictures)
        error = (found["face_error"] - self.limits["least"]) / (self.limits["other"] - self.limits["least"]).mean()
        return found | {
            "face_error": error,
            "leakage": mean_of([found[f"leakage.{name}"] for name in CHOICES]),
            "outside_change": change_outside(pictures, self.base, inside),
            "locality": locality(pictures, self.base, inside),
        }


def mean_of(parts: list[np.ndarray]) -> np.ndarray:
    """(n,): of those that are no NaN; NaN where all are."""
    stacked = np.stack(parts)
    counts = (~np.isnan(stacked)).sum(0)
    return np.where(counts > 0, np.nansum(stacked, 0) / np.maximum(counts, 1), np.nan)


def tokens_of(adapter: FaceAdapter, plan: Protocol, judges: Judges, *, photos: int) -> FaceTokens:
    """One row for each person: of the reference, and of `photos` - 1 more pictures of them in other looks."""
    rows = []
    for own, reference in enumerate(plan.references):
        rng = np.random.default_rng((own, 4111))
        more = [render(plan.people[own], _bare_eyes(rng)).image for _ in range(photos - 1)]
        rows.append(adapter.encode([reference.image, *more], detector=judges.detector))
    return FaceTokens(torch.cat([one.face for one in rows]), torch.cat([one.null for one in rows]))


def _bare_eyes(rng: np.random.Generator) -> Look:
    """A look without dark glasses, as those of the references."""
    drawn = look(held_out_seed(rng))
    while drawn["glasses"] == "sun":
        drawn = look(held_out_seed(rng))
    return drawn
