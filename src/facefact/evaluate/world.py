"""`facefact eval world`: a bundle measured on people that no training saw, with the independent judges.

Every adapted picture is made from the same seed, steps and prompt as the base model's, so that what differs is the adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from facefact import checkpoint
from facefact.encoder import TransFace, TransFaceConfig
from facefact.evaluate.protocol import Case, Protocol, protocol
from facefact.face_adapter import FaceAdapter
from facefact.faces.avatar import AvatarDetector
from facefact.metrics.reader import AttributeReader
from facefact.metrics.scores import Figure, change_outside, figure, own_and_other, psnr, retrieved, verification_auc
from facefact.types import FaceTokens, UserError
from facefact.world import CHOICES, Rendering, render, visible

LEAKS = ("glasses", "hat", "hair_colour")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sampling:
    """How pictures are made. scale: of the adapter."""

    steps: int = 20
    guidance_scale: float = 3.0
    scale: float = 1.0
    batch: int = 20


@dataclass(frozen=True)
class Judges:
    """recogniser: independent of the adapter's encoder (own seed, width and crop). reader: of named attributes."""

    recogniser: TransFace
    reader: AttributeReader
    detector: AvatarDetector

    @classmethod
    def open(cls, judges: Path, bundle: Path) -> Judges:
        state, config = checkpoint.load(judges / "recogniser")
        recogniser = TransFace(TransFaceConfig(**config))
        checkpoint.load_strictly(recogniser, state, source=judges / "recogniser", dtype=torch.float32)
        return cls(recogniser.eval(), AttributeReader.from_pretrained(judges / "reader"), AvatarDetector.from_pretrained(bundle / "face_detector"))

    @torch.no_grad()
    def embed(self, pictures: np.ndarray) -> np.ndarray:
        """(n, h, w, 3) uint8 -> (n, d) unit embeddings of the middle of each portrait: no detector, no mask, so that nothing of
        the adapter's own face path is shared."""
        crops = torch.stack([as_pixels(centre_portrait(picture)) for picture in pictures])
        return np.concatenate([F.normalize(self.recogniser.embed(part), dim=-1).numpy() for part in crops.split(64)])

    def read(self, pictures: np.ndarray) -> list[dict[str, str]]:
        """The named attributes of each picture, as the reader sees them."""
        read = self.reader.read(torch.stack([as_pixels(picture) for picture in pictures]))
        return [{name: CHOICES[name][int(read[name][i])] for name in CHOICES} for i in range(len(pictures))]

    def face(self, picture: np.ndarray) -> np.ndarray:
        """(h, w) bool: the face with a margin of four pixels in 128; everything is outside when there is no face."""
        size = picture.shape[0]
        plane = np.zeros((size, size), np.uint8)
        for found in self.detector.detect(picture)[:1]:
            if found.oval is not None:
                cv2.fillPoly(plane, [np.round(found.oval).astype(np.int32)], 1)
        margin = 2 * round(size / 32) + 1
        return cv2.dilate(plane, np.ones((margin, margin), np.uint8)).astype(bool)


def centre_portrait(picture: np.ndarray) -> np.ndarray:
    """(112, 112, 3) uint8: the middle 76 % of a portrait."""
    size = picture.shape[0]
    side, x, y = round(0.76 * size), round(0.12 * size), round(0.125 * size)
    return cv2.resize(picture[y : y + side, x : x + side], (112, 112), interpolation=cv2.INTER_LINEAR)


def as_pixels(picture: np.ndarray) -> torch.Tensor:
    """(h, w, 3) uint8 -> (3, h, w) float in [-1, 1]."""
    return torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)


def person_tokens(adapter: FaceAdapter, references: Sequence[Rendering], detector: AvatarDetector) -> FaceTokens:
    """One row of tokens per reference picture, through the face path that photos take too: detected, masked, aligned."""
    rows = [adapter.encode(reference.image, detector=detector) for reference in references]
    return FaceTokens(torch.cat([one.face for one in rows]), torch.cat([one.null for one in rows]))


@torch.no_grad()
def make_pictures(
    pipe: Any, cases: Sequence[Case], sampling: Sampling, *, adapter: FaceAdapter | None = None, people: FaceTokens | None = None,
    progress: Progress | None = None, title: str = "pictures",
) -> np.ndarray:  # fmt: skip
    """(cases, h, w, 3) uint8. Without adapter: the base model's pictures from the same seeds."""
    made = []
    for start in range(0, len(cases), sampling.batch):
        part = cases[start : start + sampling.batch]
        extra: dict[str, Any] = {}
        if adapter is not None and people is not None:
            rows = [case.own for case in part]
            chosen = FaceTokens(people.face[rows], people.null[rows])
            extra["cross_attention_kwargs"] = adapter.condition(chosen, scale=sampling.scale, guidance=sampling.guidance_scale > 1)
        made.append(pipe(
            [case.prompt for case in part], num_inference_steps=sampling.steps, guidance_scale=sampling.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(case.seed) for case in part], output_type="np", **extra,
        ).images)  # fmt: skip
        if progress:
            progress(title, min(start + sampling.batch, len(cases)), len(cases))
    return (np.concatenate(made) * 255).round().astype(np.uint8)


@torch.no_grad()
def reconstruct(pipe: Any, pictures: np.ndarray) -> np.ndarray:
    """Pictures through the autoencoder: (n, h, w, 3) uint8 -> the same."""
    parts = torch.stack([as_pixels(picture) for picture in pictures]).split(20)
    decoded = [pipe.vae.decode(pipe.vae.encode(part.to(pipe.device, pipe.vae.dtype)).latent_dist.mode()).sample.float().cpu() for part in parts]
    return ((torch.cat(decoded).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def attribute_hits(read: Sequence[dict[str, str]], cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """For each factor (cases,): 1 where the reader sees what was asked for, 0 where not, NaN where it cannot be seen."""
    wanted = [visible(case.wanted) for case in cases]
    return {
        name: np.array([float(seen[name] == look[name]) if name in look else np.nan for seen, look in zip(read, wanted, strict=True)])
        for name in CHOICES
    }


def attribute_figure(hits: dict[str, np.ndarray], own: np.ndarray) -> Figure:
    """Accuracy over all visible factors together."""
    return figure(np.concatenate(list(hits.values())), np.tile(own, len(hits)))


def leakage(read: Sequence[dict[str, str]], plan: Protocol) -> dict[str, Figure]:
    """How often a picture shows the *reference's* glasses, hat or hair colour where the prompt asks for another."""
    found = {}
    for name in LEAKS:
        leaks = []
        for seen, case in zip(read, plan.cases, strict=True):
            reference, wanted = plan.looks[case.own], case.wanted
            worn = reference[name] != "none" and name in visible(reference) and name in visible(wanted)
            leaks.append(float(seen[name] == reference[name]) if worn and reference[name] != wanted[name] else np.nan)
        found[name] = figure(np.array(leaks), plan.own)
    return found


def identity_scores(embeddings: np.ndarray, references: np.ndarray, own: np.ndarray) -> dict[str, Figure]:
    similarity = embeddings @ references.T
    cos_own, cos_other = own_and_other(similarity, own)
    samples = {"rank1": retrieved(similarity, own), "rank5": retrieved(similarity, own, 5), "cos_own": cos_own, "cos_other": cos_other,
               "auc": verification_auc(similarity, own)}  # fmt: skip
    return {name: figure(values, own) for name, values in samples.items()}


def evaluate_world(
    bundle: Path, judges_dir: Path, *, seed: int, people: int = 100, per_person: int = 4, sampling: Sampling | None = None,
    device: str | torch.device = "cpu", progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All figures of one bundle for one seed, as JSON values (`Figure.as_json`)."""
    from diffusers import StableDiffusionPipeline

    if people < 6 or per_person < 1:
        raise UserError(f"{people} people with {per_person} pictures each measure nothing: at least 6 people and 1 picture")
    sampling = sampling or Sampling()
    plan, judges = protocol(seed, people=people, per_person=per_person), Judges.open(judges_dir, bundle)
    pipe = StableDiffusionPipeline.from_pretrained(bundle, torch_dtype=torch.float32, local_files_only=True).to(device)
    pipe.set_progress_bar_config(disable=True)
    own = plan.own
    references = judges.embed(np.stack([one.image for one in plan.references]))
    real = np.stack([render(plan.people[case.own], case.wanted).image for case in plan.cases])
    rebuilt = reconstruct(pipe, real)
    real_scores, rebuilt_scores = (identity_scores(judges.embed(pictures), references, own) for pictures in (real, rebuilt))
    real_hits = attribute_hits(judges.read(real), plan.cases)

    base = make_pictures(pipe, plan.cases, sampling, progress=progress, title="base model")
    base_read = judges.read(base)
    base_hits, base_scores = attribute_hits(base_read, plan.cases), identity_scores(judges.embed(base), references, own)
    report: dict[str, Any] = {
        "recogniser": {"auc": real_scores["auc"], "rank1": real_scores["rank1"]},
        "reader": {"attributes": attribute_figure(real_hits, own), "by_factor": {k: figure(v, own) for k, v in real_hits.items()}},
        "autoencoder": {"psnr_db": figure(psnr(real, rebuilt), own), "rank1": rebuilt_scores["rank1"]},
        "base": {"attributes": attribute_figure(base_hits, own), "scene": figure(base_hits["scene"], own), "rank1": base_scores["rank1"],
                 "by_factor": {k: figure(v, own) for k, v in base_hits.items()}},
        "leakage": {"base": leakage(base_read, plan)},
    }  # fmt: skip
    base_faces = np.stack([judges.face(picture) for picture in base])
    for name, folder in (("adapter", bundle / "adapter"), ("adapter_without_fair", judges_dir / "adapter_without_fair")):
        if not folder.is_dir():
            continue
        adapter = FaceAdapter.from_pretrained(folder).attach(pipe)
        tokens = person_tokens(adapter, plan.references, judges.detector)
        made = make_pictures(pipe, plan.cases, sampling, adapter=adapter, people=tokens, progress=progress, title=name.replace("_", " "))
        adapter.detach()
        read = judges.read(made)
        hits, faces = attribute_hits(read, plan.cases), np.stack([judges.face(picture) for picture in made])
        report[name] = identity_scores(judges.embed(made), references, own) | {
            "attributes": attribute_figure(hits, own), "by_factor": {k: figure(v, own) for k, v in hits.items()},
            "outside_change": figure(change_outside(made, base, faces | base_faces), own),
        }  # fmt: skip
        report["leakage"][name] = leakage(read, plan)
    settings = {"steps": sampling.steps, "guidance_scale": sampling.guidance_scale, "scale": sampling.scale}
    return {"people": people, "images": len(plan.cases), "seed": seed, "sampling": settings, **as_json(report)}


def as_json(tree: Any) -> Any:
    """Figures inside nested dicts -> JSON values."""
    if isinstance(tree, Figure):
        return tree.as_json()
    return {name: as_json(value) for name, value in tree.items()}
