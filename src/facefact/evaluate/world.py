"""`facefact eval world`: a bundle measured on people that no training saw, with the independent judges.

Every adapted picture comes from the same seed, steps and prompt as the base model's: what differs is the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.evaluate.judges import Judges
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
from facefact.types import UserError
from facefact.world import CHOICES, render, visible

LEAKS = ("glasses", "hat", "hair_colour")
Read = Sequence[dict[str, str]]  # what the reader sees in each picture


def evaluate_world(
    bundle: Path,
    judges_dir: Path,
    *,
    seed: int,
    people: int = 100,
    per_person: int = 4,
    sampling: Sampling | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of one bundle for one seed, as JSON values (`Figure.as_json`)."""
    if people < 6 or per_person < 1:
        raise UserError(
            f"{people} people with {per_person} pictures each measure nothing: at least 6 people, 1 picture"
        )
    sampling = sampling or Sampling()
    plan, judges = protocol(seed, people=people, per_person=per_person), Judges.open(judges_dir, bundle)
    painter = Painter.open(bundle, sampling, device=device, progress=progress)
    references = judges.embed([one.image for one in plan.references])

    report = score_renders(plan, judges, painter, references)
    base = painter.base(plan.cases)
    base_read = judges.read(base)
    report["base"] = score_prompts(base_read, plan) | score_identity(judges.embed(base), references, plan.own)
    report["leakage"] = {"base": leakage(base_read, plan)}
    base_faces = judges.faces(base)
    folders = {"adapter": bundle / "adapter", "adapter_without_fair": judges_dir / "adapter_without_fair"}
    for name, folder in folders.items():
        adapter = FaceAdapter.from_pretrained(folder)
        tokens = person_tokens(adapter, plan.references, judges.detector)
        made = painter.adapted(plan.cases, adapter, tokens, title=name.replace("_", " "))
        read, inside = judges.read(made), base_faces | judges.faces(made)
        report[name] = score_prompts(read, plan) | score_identity(judges.embed(made), references, plan.own)
        report[name]["outside_change"] = figure(change_outside(made, base, inside), plan.own)
        report["leakage"][name] = leakage(read, plan)
    settings = {"steps": sampling.steps, "guidance_scale": sampling.guidance_scale, "scale": sampling.scale}
    return {"people": people, "images": len(plan.cases), "seed": seed, "sampling": settings, **as_json(report)}


def score_renders(plan: Protocol, judges: Judges, painter: Painter, references: np.ndarray) -> dict[str, Any]:
    """What the judges make of real renders, and what the autoencoder leaves of them: it caps everything after."""
    real = np.stack([render(plan.people[case.own], case.wanted).image for case in plan.cases])
    rebuilt = painter.reconstruct(real)
    on_real, on_rebuilt = (score_identity(judges.embed(some), references, plan.own) for some in (real, rebuilt))
    return {
        "recogniser": {"auc": on_real["auc"], "rank1": on_real["rank1"]},
        "reader": score_prompts(judges.read(real), plan),
        "autoencoder": {"psnr_db": figure(psnr(real, rebuilt), plan.own), "rank1": on_rebuilt["rank1"]},
    }


def score_prompts(read: Read, plan: Protocol) -> dict[str, Any]:
    """Accuracy over all visible factors together, of the scene, and factor by factor."""
    hits, own = attribute_hits(read, plan.cases), plan.own
    return {
        "attributes": figure(np.concatenate(list(hits.values())), np.tile(own, len(hits))),
        "scene": figure(hits["scene"], own),
        "by_factor": {name: figure(values, own) for name, values in hits.items()},
    }


def attribute_hits(read: Read, cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """For each factor (cases,): 1 where the reader sees what was asked for, 0 where not, NaN where it is hidden."""
    wanted = [visible(case.wanted) for case in cases]

    def hit(seen: dict[str, str], asked: dict[str, str], name: str) -> float:
        return float(seen[name] == asked[name]) if name in asked else np.nan

    return {name: np.array([hit(s, w, name) for s, w in zip(read, wanted, strict=True)]) for name in CHOICES}


def leakage(read: Read, plan: Protocol) -> dict[str, Figure]:
    """How often a picture shows the *reference's* glasses, hat or hair colour where its prompt asks for another."""

    def leaked(seen: dict[str, str], case: Case, name: str) -> float:
        worn, wanted = visible(plan.looks[case.own]), visible(case.wanted)
        if name not in worn or name not in wanted or worn[name] in ("none", wanted[name]):
            return np.nan
        return float(seen[name] == worn[name])

    return {
        name: figure(np.array([leaked(s, c, name) for s, c in zip(read, plan.cases, strict=True)]), plan.own)
        for name in LEAKS
    }


def score_identity(embeddings: np.ndarray, references: np.ndarray, own: np.ndarray) -> dict[str, Figure]:
    """Retrieval among the references (one per person), similarity to the right and to the other people, and the AUC."""
    similarity = embeddings @ references.T
    cos_own, cos_other = own_and_other(similarity, own)
    samples = {
        "rank1": retrieved(similarity, own),
        "rank5": retrieved(similarity, own, 5),
        "cos_own": cos_own,
        "cos_other": cos_other,
        "auc": verification_auc(similarity, own),
    }
    return {name: figure(values, own) for name, values in samples.items()}


def as_json(tree: Any) -> Any:
    """Figures inside nested dicts -> JSON values."""
    return tree.as_json() if isinstance(tree, Figure) else {name: as_json(value) for name, value in tree.items()}
