"""`facefact eval world`: a bundle measured on people that no training saw, with the independent judges.

Every adapted picture comes from the same seed, steps and prompt as the base model's: what differs is the adapter, and
differences are taken picture by picture. Several seeds are several galleries of people; figures are pooled over them,
and their intervals are over galleries and people together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.evaluate.face_error import face_errors, other_errors
from facefact.evaluate.identity_factors import GROUPS, FactorReader
from facefact.evaluate.judges import Judges
from facefact.evaluate.layers import layers_alive
from facefact.evaluate.pictures import Painter, Progress, Sampling, person_tokens
from facefact.evaluate.protocol import Case, Protocol, protocol
from facefact.face_adapter import FaceAdapter
from facefact.metrics.scores import (
    Figure,
    change_outside,
    figure,
    own_and_other,
    psnr,
    retrieved,
    verification_auc,
)
from facefact.types import FaceTokens, UserError
from facefact.world import CHOICES, render, visible

LEAKS = ("glasses", "hat", "hair_colour", "pose", "expression", "light")
SKINS = {"light": (-1.0, -1 / 3), "mid": (-1 / 3, 1 / 3), "dark": (1 / 3, 1.0)}  # by the factor `skin_tone`
Read = Sequence[dict[str, str]]  # what the reader sees in each picture
Samples = dict[str, np.ndarray]  # by name: (cases,), or (k, cases) of k questions to each picture; NaN counts nothing


@dataclass(frozen=True)
class Measured:
    """One seed's samples, by whose pictures they are (renders, autoencoder, base, adapter, adapter_without_fair)."""

    plan: Protocol
    samples: Mapping[str, Samples]


def evaluate_world(
    bundle: Path,
    judges_dir: Path,
    *,
    seed: int,
    seeds: int = 1,
    people: int = 100,
    per_person: int = 4,
    sampling: Sampling | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of one bundle, pooled over `seeds` seeds from `seed` on, as JSON values (`Figure.as_json`)."""
    if people < 6 or per_person < 1 or seeds < 1:
        raise UserError(
            f"{seeds} seeds of {people} people with {per_person} pictures each measure nothing: at least 1 seed, "
            "6 people, 1 picture"
        )
    sampling, judges = sampling or Sampling(), Judges.open(judges_dir, bundle)
    painter = Painter.open(bundle, sampling, device=device, progress=progress)
    adapters = {
        "adapter": FaceAdapter.from_pretrained(bundle / "adapter"),
        "adapter_without_fair": FaceAdapter.from_pretrained(judges_dir / "adapter_without_fair"),
    }
    factors = FactorReader.fit(judges)
    made, alive = [], []
    for one in range(seed, seed + seeds):
        plan = protocol(one, people=people, per_person=per_person)
        tokens = {name: person_tokens(a, plan.references, judges.detector) for name, a in adapters.items()}
        made.append(measure(plan, judges, factors, painter, adapters, tokens))
        alive.append(
            layers_alive(plan.cases[::per_person][:8], painter, adapters["adapter"], tokens["adapter"], judges)
        )
    settings = {name: getattr(sampling, name) for name in ("steps", "guidance_scale", "scale", "face_guidance")}
    about = {"people": people, "images": sum(len(one.plan.cases) for one in made), "seed": seed, "seeds": seeds}
    return {**about, "sampling": settings, **as_json(report(made) | {"layers_alive": figure(np.concatenate(alive))})}


# One seed: pictures and what the judges say of each


def measure(
    plan: Protocol,
    judges: Judges,
    factors: FactorReader,
    painter: Painter,
    adapters: Mapping[str, FaceAdapter],
    tokens: Mapping[str, FaceTokens],
) -> Measured:
    judged = judging(plan, judges, factors)
    real = np.stack([render(plan.people[case.own], case.wanted).image for case in plan.cases])
    rebuilt, base = painter.reconstruct(real), painter.base(plan.cases)
    samples = {
        "renders": judged(real) | {"other_error": other_errors(plan.cases, plan.people)},
        "autoencoder": judged(rebuilt) | {"psnr_db": psnr(real, rebuilt)},
        "base": judged(base),
    }
    base_faces = judges.faces(base)
    for name, adapter in adapters.items():
        pictures = painter.adapted(plan.cases, adapter, tokens[name], title=name.replace("_", " "))
        inside = base_faces | judges.faces(pictures)
        samples[name] = judged(pictures) | {"outside_change": change_outside(pictures, base, inside)}
    return Measured(plan, samples)


def judging(plan: Protocol, judges: Judges, factors: FactorReader | None) -> Callable[[np.ndarray], Samples]:
    """What the judges say of pictures of the plan's cases, (cases, h, w, 3) uint8. factors: None: of the identity's
    factors nothing is read."""
    references = judges.embed([one.image for one in plan.references])

    def judged(pictures: np.ndarray) -> Samples:
        read = judges.read(pictures)
        views = np.stack([judges.view(picture) for picture in pictures])
        embeddings = judges.embed_views(views)
        wrong = factors.errors(views, embeddings, plan.cases, plan.people) if factors is not None else {}
        return (
            attribute_hits(read, plan.cases)
            | {f"leak_{name}": values for name, values in leaks(read, plan).items()}
            | identity_samples(embeddings, references, plan.own)
            | {f"wrong_{name}": values for name, values in wrong.items()}
            | {"face_error": face_errors(pictures, plan.cases, plan.people, judges)}
        )

    return judged


def attribute_hits(read: Read, cases: Sequence[Case]) -> Samples:
    """For each factor (cases,): 1 where the reader sees what was asked for, 0 where not, NaN where it is hidden."""
    wanted = [visible(case.wanted) for case in cases]

    def hit(seen: dict[str, str], asked: dict[str, str], name: str) -> float:
        return float(seen[name] == asked[name]) if name in asked else np.nan

    return {name: np.array([hit(s, w, name) for s, w in zip(read, wanted, strict=True)]) for name in CHOICES}


def leaks(read: Read, plan: Protocol) -> Samples:
    """For each of `LEAKS` (cases,): 1 where a picture shows what the *reference* has and its prompt does not ask for,
    0 where it does not, NaN where they are the same, or there is nothing to leak."""

    def leaked(seen: dict[str, str], case: Case, name: str) -> float:
        worn, wanted = visible(plan.looks[case.own]), visible(case.wanted)
        if name not in worn or name not in wanted or worn[name] in ("none", wanted[name]):
            return np.nan
        return float(seen[name] == worn[name])

    return {name: np.array([leaked(s, c, name) for s, c in zip(read, plan.cases, strict=True)]) for name in LEAKS}


def identity_samples(embeddings: np.ndarray, references: np.ndarray, own: np.ndarray) -> Samples:
    """Retrieval among the references (one per person), similarity to the right and to the other people, and the AUC.
    embeddings: (n, d), references: (people, d), unit; own: (n,) the right row of the references."""
    similarity = embeddings @ references.T
    cos_own, cos_other = own_and_other(similarity, own)
    return {
        "rank1": retrieved(similarity, own),
        "rank5": retrieved(similarity, own, 5),
        "cos_own": cos_own,
        "cos_other": cos_other,
        "auc": verification_auc(similarity, own),
    }


def score_identity(embeddings: np.ndarray, references: np.ndarray, own: np.ndarray) -> dict[str, Figure]:
    """The figures of `identity_samples`."""
    return {name: figure(values, own) for name, values in identity_samples(embeddings, references, own).items()}


# All seeds: figures

IDENTITY = ("rank1", "rank5", "cos_own", "cos_other", "auc")
Average = Callable[..., Figure]  # samples[, over=] -> their mean, with people and galleries known


def report(made: Sequence[Measured]) -> dict[str, Any]:
    """The figures of all seeds together, as a tree."""
    pooled = {who: _pool([one.samples[who] for one in made]) for who in made[0].samples}
    people = np.concatenate([one.plan.own for one in made])
    galleries = np.repeat(np.arange(len(made)), [len(one.plan.cases) for one in made])

    def average(samples: np.ndarray, over: np.ndarray | None = None, where: np.ndarray | None = None) -> Figure:
        asked = 1 if samples.ndim == 1 else len(samples)
        kept = slice(None) if where is None else where
        return figure(
            samples[..., kept].ravel(),
            np.tile(people[kept], asked),
            np.tile(galleries[kept], asked),
            over=None if over is None else over[..., kept].ravel(),
        )

    renders, autoencoder, base, adapter = (pooled[n] for n in ("renders", "autoencoder", "base", "adapter"))
    tree: dict[str, Any] = {
        "recogniser": {name: average(renders[name]) for name in ("auc", "rank1")},
        "reader": prompt_figures(renders, average),
        "autoencoder": {name: average(autoencoder[name]) for name in ("psnr_db", "rank1")},
        "base": prompt_figures(base, average) | {name: average(base[name]) for name in IDENTITY},
    }
    for name in (who for who in pooled if who.startswith("adapter")):
        own = pooled[name]
        tree[name] = prompt_figures(own, average) | {key: average(own[key]) for key in (*IDENTITY, "outside_change")}
    tree["adapter"]["worst_factor"] = min(
        (average(adapter[name] - base[name]) for name in CHOICES), key=lambda one: one.value
    )
    wanted = np.array([case.wanted["expression"] for one in made for case in one.plan.cases])
    tone = np.array([one.plan.people[case.own]["skin_tone"] for one in made for case in one.plan.cases])
    return tree | {
        "expression": expression_figures(base["expression"], adapter["expression"], wanted, average),
        "face_error": {"relative": relative_error(pooled, average)},
        "identity_factors": {name: average(adapter[f"wrong_{name}"], over=renders[f"wrong_{name}"]) for name in GROUPS},
        "by_skin": {
            skin: {
                "rank1": average(adapter["rank1"], where=(low <= tone) & (tone <= high)),
                "face_error": relative_error(pooled, average, where=(low <= tone) & (tone <= high)),
            }
            for skin, (low, high) in SKINS.items()
            if ((low <= tone) & (tone <= high)).any()
        },
        "leakage": {
            who: {name: average(pooled[who][f"leak_{name}"]) for name in LEAKS} for who in ("base", *_adapters(pooled))
        },
        "outside_ratio": average(adapter["outside_change"], over=pooled["adapter_without_fair"]["outside_change"]),
    }


def _adapters(pooled: Mapping[str, Samples]) -> list[str]:
    return [who for who in pooled if who.startswith("adapter")]


def _pool(parts: Sequence[Samples]) -> Samples:
    return {name: np.concatenate([part[name] for part in parts], -1) for name in parts[0]}


def prompt_figures(samples: Samples, average: Average) -> dict[str, Any]:
    """Accuracy over all visible factors together, of the scene, and factor by factor."""
    return {
        "attributes": average(np.stack([samples[name] for name in CHOICES])),
        "scene": average(samples["scene"]),
        "by_factor": {name: average(samples[name]) for name in CHOICES},
    }


def expression_figures(base: np.ndarray, adapter: np.ndarray, wanted: np.ndarray, average: Average) -> dict[str, Any]:
    """base, adapter: (n,) whether the expression is right; wanted: (n,) which one was asked for. worst: of the adapter,
    the expression that it follows least."""
    each = {name: average(adapter, where=wanted == name) for name in CHOICES["expression"] if (wanted == name).any()}
    return {
        "base": average(base),
        "adapter": average(adapter),
        "difference": average(adapter - base),
        "worst": min(each.values(), key=lambda one: one.value),
        "each": each,
    }


def relative_error(pooled: Mapping[str, Samples], average: Average, where: np.ndarray | None = None) -> Figure:
    """The face's distance to the true one: 0 is what the autoencoder leaves of it, 1 is another person's face."""
    least = pooled["autoencoder"]["face_error"]
    return average(pooled["adapter"]["face_error"] - least, over=pooled["renders"]["other_error"] - least, where=where)


def as_json(tree: Any) -> Any:
    """Figures inside nested dicts -> JSON values."""
    return tree.as_json() if isinstance(tree, Figure) else {name: as_json(value) for name, value in tree.items()}
