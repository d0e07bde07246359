"""The autoencoder's second half, trained on after the base model has its latents.

The decoder is the last hand at every portrait: what it cannot draw no base model and no adapter can. It may be trained
for longer than the encoder, and later, because the latents stay as they are. It practises where one looks: half of its
crops are about the face, with the losses' own weights for faces, eyes and mouths, and dark skins. (All of them there,
faces gained as much and the rest of the picture lost 8 %.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from facefact.faces.align import alignment, inverse
from facefact.metrics.views import to_pixels
from facefact.train.bundle.autoencoder import weighted_errors
from facefact.train.engine.loop import Batches
from facefact.train.losses.diffusion import eyes_and_mouth, place_weight
from facefact.train.material.samples import brightness
from facefact.world import Rendering, look, person, render, training_seed

Place = tuple[int, int]  # top and left


class DecoderStage(nn.Module):
    """The decoder and its loss; the encoder stands still."""

    def __init__(self, autoencoder: AutoencoderKL, *, face_weight: float, feature_weight: float, weber: float):
        super().__init__()
        self.autoencoder = autoencoder.to(memory_format=torch.channels_last)
        self.autoencoder.encoder.requires_grad_(False)
        self.autoencoder.quant_conv.requires_grad_(False)
        self.weights = {"face_weight": face_weight, "feature_weight": feature_weight, "weber": weber}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `portrait_crops` makes it. -> scalars: loss, and the two weighted errors that it is made of."""
        pixels = batch["pixels"]
        with torch.no_grad():
            latents = self.autoencoder.encode(pixels).latent_dist.sample()
        error = self.autoencoder.decode(latents).sample.float() - pixels
        weight = place_weight(batch["face"], batch["features"], batch["light"], **self.weights)[:, None]
        absolute, squared = weighted_errors(error, weight)
        return {"loss": absolute + 2 * squared, "absolute": absolute, "squared": squared}


def portrait_crops(seed: int, batch: int, crop: int, rank: int = 0) -> Batches:
    """step -> iterator of batches of crops of renders, a pure function of the seed and the step: pixels (b, 3, crop,
    crop) in [-1, 1]; face, features (b, crop, crop) and light (b,) as `place_weight` takes them. Every other
    crop, from the first, is about the face, the rest are anywhere."""

    def sample(
        rng: np.random.Generator, at: Callable[[Rendering, int, np.random.Generator], Place]
    ) -> tuple[Tensor, ...]:
        drawn = render(person(training_seed(rng)), look(training_seed(rng)))
        y, x = at(drawn, crop, rng)
        there = np.s_[y : y + crop, x : x + crop]
        to_picture = torch.from_numpy(inverse(alignment(drawn.landmarks))).float()[None]
        features = eyes_and_mouth(to_picture, drawn.face.shape, 1)[0]
        light = torch.tensor(brightness(drawn.image, drawn.face), dtype=torch.float32)
        face = torch.from_numpy(drawn.face[there].astype(np.float32))
        return to_pixels(np.ascontiguousarray(drawn.image[there])), face, features[there], light

    def batches(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            parts = zip(*(sample(rng, anywhere if i % 2 else about_the_face) for i in range(batch)), strict=True)
            made = dict(zip(("pixels", "face", "features", "light"), map(torch.stack, parts), strict=True))
            yield made | {"pixels": made["pixels"].contiguous(memory_format=torch.channels_last)}
            step += 1

    return batches


def about_the_face(drawn: Rendering, crop: int, rng: np.random.Generator) -> Place:
    """Top and left of a crop whose middle is the face's, give or take a third of the crop, inside the picture."""
    middle = drawn.landmarks.mean(0)[::-1] + rng.uniform(-crop / 3, crop / 3, 2)
    first = np.clip(np.round(middle - crop / 2), 0, np.array(drawn.face.shape) - crop)
    return int(first[0]), int(first[1])


def anywhere(drawn: Rendering, crop: int, rng: np.random.Generator) -> Place:
    """Top and left of a crop inside the picture."""
    y, x = (int(rng.integers(0, side - crop + 1)) for side in drawn.face.shape)
    return y, x
