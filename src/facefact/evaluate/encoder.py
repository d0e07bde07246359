"""`facefact eval encoder`: how well a face encoder tells people apart that its training never saw.

Verification (the LFW protocol's accuracy, the ROC curve) and identification (the right one of all people from one
picture each), on the portrait world or on folders of photos. Every interval is over people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from facefact import checkpoint
from facefact.encoder import TransFace
from facefact.encoder.facechain import encoder_from_state
from facefact.encoder.files import load_transface
from facefact.evaluate.pictures import Progress
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop, face_crop_from
from facefact.faces.files import is_nothing, is_picture
from facefact.metrics.scores import figure, retrieved
from facefact.metrics.verification import Roc, all_pairs, fold_accuracy, lfw_folds, roc, roc_figures
from facefact.metrics.views import to_pixels
from facefact.types import UserError
from facefact.world import CHOICES, Look, first_held_out, held_out_seed, look, person, render

FOLDS = 10
FALSE_ACCEPTS = (1e-2, 1e-3)
CURVE = np.append(0.0, np.logspace(-4, 0, 33))  # the false accept rates at which the curve is written down


@dataclass(frozen=True)
class Album:
    """crops: (n, 112, 112, 3) uint8 face conditions, those of a person one after the other. people: (n,) from 0 on.
    skipped: files that no face was read from, and why."""

    crops: np.ndarray
    people: np.ndarray
    skipped: tuple[str, ...] = ()


# Pictures


def world_album(
    seed: int,
    *,
    people: int = 200,
    per_person: int = 4,
    wearing: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Album:
    """Held-out people in random looks, cropped at the true landmarks. wearing: choices that all pictures of a person
    but the first have; the first has other ones (no glasses, no hat)."""
    if people < 2 * FOLDS or per_person < 2:
        raise UserError(f"{people} people with {per_person} pictures each: at least {2 * FOLDS} people, 2 pictures")
    wearing = checked(wearing or {})
    rng, first, crops = np.random.default_rng((seed, 78)), first_held_out(seed), []
    for i in range(people):
        for number in range(per_person):
            drawn = render(person(first + i), held_out_look(rng, wearing, worn=number > 0))
            crops.append(face_crop_from(drawn.image, landmarks=drawn.landmarks, head=drawn.head).pixels)
        if progress:
            progress("pictures", len(crops), people * per_person)
    return Album(np.stack(crops), np.repeat(np.arange(people), per_person))


def checked(wearing: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in wearing.items():
        if value not in CHOICES.get(name, ()):
            known = ", ".join(CHOICES.get(name, CHOICES))
            raise UserError(f"the portrait world knows no {name}={value}; choose from: {known}")
    return wearing


def held_out_look(rng: np.random.Generator, wearing: Mapping[str, str], *, worn: bool) -> Look:
    """A random look with all of these choices, or with none of them."""
    if worn:
        return look(held_out_seed(rng), **wearing)
    bare = {name: "none" for name, value in wearing.items() if "none" in CHOICES[name] and value != "none"}
    while True:
        drawn = look(held_out_seed(rng), **bare)
        if all(drawn[name] != value for name, value in wearing.items()):
            return drawn


def photo_album(directory: Path, *, detector: Detector | None = None, progress: Progress | None = None) -> Album:
    """A folder for each person, with photos of that person inside. Photos without a usable face are skipped."""
    if not directory.is_dir():
        raise UserError(f"{directory} is no folder: give one that holds a folder of photos for each person")
    files = [
        (folder, path)
        for folder in sorted(directory.iterdir())
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if is_picture(path.name) and not is_nothing(path.name)
    ]
    crops, owners, skipped = [], [], []
    for done, (folder, path) in enumerate(files, 1):
        try:
            crops.append(face_crop(path, detector=detector, warn=False).pixels)
            owners.append(folder.name)
        except UserError as error:
            skipped.append(str(error))
        if progress:
            progress("photos", done, len(files))
    names, people, counts = np.unique(owners, return_inverse=True, return_counts=True)
    if len(names) < 4 or (counts > 1).sum() < 2:
        raise UserError(
            f"{directory} has usable photos of {len(names)} people, two or more of {(counts > 1).sum()}; at least 4 "
            f"folders are needed, 2 of them with two such photos" + (f" (skipped: {skipped[0]})" if skipped else "")
        )
    return Album(np.stack(crops), people, tuple(skipped))


# The encoder


def open_encoder(path: Path) -> TransFace:
    """From a run of `recipe: encoder` or its `encoder` directory, a FaceAdapter's directory, or a published .pt."""
    if path.is_file():
        return encoder_from_state(checkpoint.load_torch(path), source=path).eval()
    path = path / "encoder" if (path / "encoder" / checkpoint.CONFIG).is_file() else path
    if "resampler" in checkpoint.read_config(path):
        return FaceAdapter.from_pretrained(path).encoder.float().eval()
    return load_transface(path)


@torch.no_grad()
def embed(encoder: TransFace, crops: np.ndarray, device: str | torch.device = "cpu") -> np.ndarray:
    """(n, 112, 112, 3) uint8 -> (n, d) unit embeddings."""
    encoder = encoder.to(device)
    parts = np.array_split(crops, max(1, len(crops) // 64))
    pixels = (torch.stack([to_pixels(crop) for crop in part]).to(device) for part in parts)
    return np.concatenate([F.normalize(encoder.embed(part).float(), dim=-1).cpu().numpy() for part in pixels])


# Figures


def evaluate_encoder(encoder: TransFace, album: Album, *, seed: int = 0, device: Any = "cpu") -> dict[str, Any]:
    """Every figure of an album, as JSON values (`Figure.as_json`)."""
    embeddings = embed(encoder, album.crops, device)
    counts = {"people": len(np.unique(album.people)), "pictures": len(album.people), "skipped": len(album.skipped)}
    return counts | score(embeddings, album.people, seed=seed)


def score(embeddings: np.ndarray, people: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The figures of (n, d) unit embeddings, as JSON values. seed: of the folds and of what stands for different
    people."""
    folds = lfw_folds(embeddings, people, folds=min(FOLDS, len(np.unique(people)) // 2), seed=seed)
    right, thresholds = fold_accuracy(folds)
    pairs = all_pairs(embeddings, people, seed=seed)
    curve = roc(pairs)
    statistics: dict[str, Callable[[Roc], float]] = {"auc": lambda one: one.auc}
    statistics |= {f"tar_at_far_{far:g}": partial(Roc.tar_at, far=far) for far in FALSE_ACCEPTS}
    figures = {"accuracy": figure(right, folds.pairs.first)} | roc_figures(pairs, statistics)
    verification: dict[str, Any] = {name: value.as_json() for name, value in figures.items()}
    verification["threshold"] = round(float(thresholds.mean()), 4)
    verification["pairs"] = {"same": int(pairs.same.sum()), "different": int((~pairs.same).sum())}
    return {
        "verification": verification,
        "identification": identification(embeddings, people),
        "roc": [[round(float(far), 6), round(curve.tar_at(far), 4)] for far in CURVE],
    }


def identification(embeddings: np.ndarray, people: np.ndarray) -> dict[str, Any]:
    """Every person's first picture is known; all others are looked up among them."""
    known, first = np.unique(people, return_index=True)
    probes = np.setdiff1d(np.arange(len(people)), first)
    own = np.searchsorted(known, people[probes])
    found = retrieved(embeddings[probes] @ embeddings[first].T, own)
    return {"rank1": figure(found, people[probes]).as_json(), "known": len(known)}


def draw_roc(report: Mapping[str, Any], path: Path) -> bool:
    """The curve as a picture; returns False where matplotlib is not there."""
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError:
        return False
    far, tar = np.array(report["roc"]).T
    canvas = Canvas(figsize=(5, 4), layout="constrained")
    axes = canvas.subplots()
    axes.plot(np.maximum(far, 1e-4), tar, marker=".")
    axes.set(xscale="log", xlim=(1e-4, 1), ylim=(0, 1.01), xlabel="false accept rate", ylabel="true accept rate")
    axes.set_title(f"{report['people']} unseen people, AUC {report['verification']['auc']['value']:.3f}")
    axes.grid(alpha=0.3)
    with checkpoint.replacing(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=120)
    return True
