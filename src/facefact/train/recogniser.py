"""Face recognisers of the world: the adapter's encoder (a small TransFace on aligned heads) and the independent judge.

Loss: angular-margin softmax (CosFace, Wang et al. 2018: s (cos - m) on the right class). People are unlimited here, so
the class centres are not learned: in a batch of n people with two pictures each, the other picture's embedding is the
centre. The world also knows the identity factors, and the embedding is asked for them (squared error): dense
supervision that saves most of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.encoder import TransFace
from facefact.faces.align import align
from facefact.metrics.views import to_pixels
from facefact.train.loop import Batches
from facefact.world import HELD_OUT, IDENTITY, Rendering, look, person, render


def training_seed(rng: np.random.Generator) -> int:
    """A person or look that training may see; evaluation draws from `HELD_OUT` on."""
    return int(rng.integers(HELD_OUT // 2))


def aligned_head(drawn: Rendering, rng: np.random.Generator | None = None) -> np.ndarray:
    """(112, 112, 3) uint8: the published face condition of a render. With `rng`, as imperfect as a detector would make
    it: landmarks off by about a pixel, the mask a little too large or too small, sometimes a softer picture."""
    image, head, points = drawn.image, drawn.head.astype(np.uint8), drawn.landmarks
    if rng is not None:
        points = misplaced(points, rng, image.shape[0])
        grown = int(rng.integers(-1, 4))
        kernel = np.ones((2 * abs(grown) + 1,) * 2, np.uint8)
        head = cv2.dilate(head, kernel) if grown > 0 else cv2.erode(head, kernel) if grown < 0 else head
        image = softened(image, rng)
    return align(image * head[..., None], points)[0]


def misplaced(points: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Landmarks off by up to about a pixel in 128, in some pictures more than in others."""
    return points + rng.normal(0, 0.008 * size, points.shape).astype(np.float32) * rng.random()


def softened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every other picture a little blurred and noisy, as decoded pictures are."""
    if rng.random() < 0.5:
        return image
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2) * image.shape[0] / 128)
    noise = rng.normal(0, rng.uniform(0, 6), image.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)


Crop = Callable[[Rendering, np.random.Generator], np.ndarray]


def pair_batches(seed: int, people: int, crop: Crop, rank: int = 0) -> Batches:
    """Batches of `people` persons with two looks each: pixels (2 people, 3, 112, 112), factors (people, 22)."""

    def batches(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            who = [person(training_seed(rng)) for _ in range(people)]
            looks = [(one, look(training_seed(rng))) for _ in range(2) for one in who]
            pixels = torch.stack([to_pixels(crop(render(one, shown), rng)) for one, shown in looks])
            yield {
                "pixels": pixels,
                "factors": torch.tensor(np.stack([one.factors for one in who]), dtype=torch.float32),
            }
            step += 1

    return batches


def angular_margin_loss(embeddings: Tensor, *, scale: float = 24.0, margin: float = 0.2) -> Tensor:
    """CosFace over a batch of pairs: (2 n, d), person i in rows i and n + i; each picture must find its pair among the
    other 2 n - 1. Cosines in [-1, 1], `margin` taken off the right one's, times `scale`."""
    unit = F.normalize(embeddings.float(), dim=-1)
    n = len(unit) // 2
    cosine = unit @ unit.T
    partner = torch.arange(2 * n, device=unit.device).roll(n)
    cosine = cosine - margin * F.one_hot(partner, 2 * n)
    cosine = cosine.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=unit.device), -torch.inf)
    return F.cross_entropy(scale * cosine, partner)


class RecogniserStage(nn.Module):
    def __init__(self, recogniser: TransFace):
        super().__init__()
        self.recogniser = recogniser
        self.factors = nn.Linear(recogniser.config.embedding_size, len(IDENTITY))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        embeddings = self.recogniser.embed(batch["pixels"])
        margin = angular_margin_loss(embeddings)
        factors = F.mse_loss(self.factors(embeddings).float(), batch["factors"].repeat(2, 1))
        return {"loss": margin + 4 * factors, "margin": margin, "factors": factors}


@torch.no_grad()
def embed_all(recogniser: TransFace, crops: list[np.ndarray]) -> Tensor:
    """(n, d) unit embeddings of (112, 112, 3) uint8 crops."""
    parts = torch.stack([to_pixels(crop) for crop in crops]).split(64)
    return F.normalize(torch.cat([recogniser.embed(part) for part in parts]), dim=-1)
