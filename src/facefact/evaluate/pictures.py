"""The pictures that are judged: made by a stock pipeline from the cases of a protocol, always from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facefact.adapter import Local
from facefact.autoencoder import wide_enough
from facefact.demo import GUIDANCE_SCALE, SCALE
from facefact.evaluate.protocol import Case
from facefact.face_adapter import FaceAdapter
from facefact.faces.avatar import AvatarDetector
from facefact.generate import load_base
from facefact.metrics.views import to_pixels
from facefact.types import FaceTokens
from facefact.world import Rendering

Progress = Callable[[str, int, int], None]  # title, done, total


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How pictures are made. scale: of the adapter, 0 is the base model; or by block, as `FaceAdapter.condition` takes
    it. face_guidance: True: guidance strengthens the face as it does the words. start, end: the part of the noise
    schedule in which the face counts. local: settings of local mode. batch: pictures at a time."""

    steps: int = 12
    guidance_scale: float = GUIDANCE_SCALE
    face_guidance: bool = False
    scale: float | Mapping[str, float] = SCALE
    start: float = 0.0
    end: float = 1.0
    local: Local | None = None
    batch: int = 20


@dataclass(frozen=True)
class Painter:
    """A pipeline, how it samples, and whom it tells of its progress."""

    pipe: Any
    sampling: Sampling
    progress: Progress = lambda title, done, total: None

    @classmethod
    def open(
        cls, bundle: Path, sampling: Sampling, *, device: str | torch.device, progress: Progress | None
    ) -> Painter:
        """With the bundle's base model; adapters come and go (`adapted`)."""
        pipe = load_base(bundle, device=device)
        return cls(pipe, sampling, progress) if progress else cls(pipe, sampling)

    def base(self, cases: Sequence[Case], title: str = "base model") -> np.ndarray:
        """(cases, h, w, 3) uint8: what the base model makes of the prompts."""
        return self._paint(cases, title, lambda part: {})

    def adapted(
        self,
        cases: Sequence[Case],
        adapter: FaceAdapter,
        people: FaceTokens,
        title: str,
        during: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> np.ndarray:
        """(cases, h, w, 3) uint8: the same with each case's person. people: one row of tokens per person. during:
        entered while the adapter is attached and the pictures are made."""
        sampling = self.sampling
        guidance = sampling.guidance_scale > 1 and sampling.face_guidance

        def condition(part: Sequence[Case]) -> dict[str, Any]:
            rows = [case.own for case in part]
            chosen = FaceTokens(people.face[rows], people.null[rows])
            kwargs = adapter.condition(
                chosen,
                sampling.scale,
                guidance,
                start=sampling.start,
                end=sampling.end,
                local=sampling.local or False,
            )
            return {"cross_attention_kwargs": kwargs}

        adapter.attach(self.pipe)
        try:
            with during():
                return self._paint(cases, title, condition)
        finally:
            adapter.detach()

    @torch.no_grad()
    def _paint(
        self, cases: Sequence[Case], title: str, extra: Callable[[Sequence[Case]], dict[str, Any]]
    ) -> np.ndarray:
        made = []
        for start in range(0, len(cases), self.sampling.batch):
            part = cases[start : start + self.sampling.batch]
            result = self.pipe(
                [case.prompt for case in part],
                num_inference_steps=self.sampling.steps,
                guidance_scale=self.sampling.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(case.seed) for case in part],
                output_type="np",
                **extra(part),
            )
            made.append(np.round(255 * result.images).astype(np.uint8))
            self.progress(title, start + len(part), len(cases))
        return np.concatenate(made)

    @torch.no_grad()
    def reconstruct(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """(n, h, w, 3) uint8: pictures through the autoencoder and back."""
        rebuilt = []
        with wide_enough(self.pipe.vae) as vae:
            for part in torch.stack([to_pixels(picture) for picture in pictures]).split(self.sampling.batch):
                latents = vae.encode(part.to(vae.device, vae.dtype)).latent_dist.mode()
                rebuilt.append(vae.decode(latents).sample.float().cpu().clamp(-1, 1))
        return torch.round((torch.cat(rebuilt) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()


def person_tokens(adapter: FaceAdapter, references: Sequence[Rendering], detector: AvatarDetector) -> FaceTokens:
    """One row of tokens per reference picture, by the path that photos take too: detected, masked, aligned."""
    rows = [adapter.encode(reference.image, detector=detector) for reference in references]
    return FaceTokens(torch.cat([one.face for one in rows]), torch.cat([one.null for one in rows]))
