"""Training of the network that finds avatars: renders shifted, zoomed and cut off, and pictures without an avatar.

The pictures without one are made up: clouds of noise at every scale (as photos have), softly shaded heads, and avatars
turned into something like a photo. No photo is needed, and photos are what must not be taken for an avatar.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facefact.faces.avatar import letterbox, net_input, net_maps
from facefact.faces.avatar_net import AvatarNet, AvatarOutput, avatar_loss
from facefact.train.engine.loop import Batches
from facefact.train.material.world import softened
from facefact.world import look, person, render, training_seed

SIZE = 128


class DetectorStage(nn.Module):
    """The network that finds avatars and its losses."""

    def __init__(self, net: AvatarNet):
        super().__init__()
        self.net = net

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `batches` makes it. -> scalars: loss, the sum of the terms of `avatar_loss`, and these."""
        target = AvatarOutput(**{name: value for name, value in batch.items() if name != "pixels"})
        terms = avatar_loss(self.net(batch["pixels"]), target)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def avatar(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(SIZE, SIZE, 3) uint8: a render somewhere in a square; and what the network should say of it, as in `batches`."""
    drawn = render(person(training_seed(rng)), look(training_seed(rng)))
    zoom = rng.uniform(0.65, 1.35)
    shift = SIZE / 2 * (1 - zoom) + rng.uniform(-0.2, 0.2, 2) * SIZE
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    moved = lambda plane, mode: cv2.warpAffine(plane, matrix, (SIZE, SIZE), borderMode=mode)  # noqa: E731
    image = softened(moved(drawn.image, border), rng)
    face, head = (moved(mask.astype(np.uint8), cv2.BORDER_CONSTANT) > 0 for mask in (drawn.face, drawn.head))
    ys, xs = np.nonzero(face)
    place = letterbox(image, SIZE)[1]
    box = np.array([[xs.min(), ys.min()], [xs.max(), ys.max()]], np.float64)
    points = drawn.landmarks @ matrix[:, :2].T + matrix[:, 2]
    inside = bool(((points >= 0) & (points < SIZE)).all())
    return image, {
        "presence": np.array(inside, np.float32),
        "box": place.to_fractions(box).ravel(),
        "landmarks": place.to_fractions(points),
        "head": net_maps(head, SIZE),
        "oval": net_maps(face, SIZE),
    }


def clouds(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: coloured noise whose amplitude falls with the frequency, as in photos."""
    total = np.zeros((SIZE, SIZE, 3), np.float32)
    for octave in range(1, 8):
        grid = rng.normal(0, 2.0 ** (-octave * rng.uniform(0.4, 1.0)), (2**octave, 2**octave, 3)).astype(np.float32)
        total += cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    grey = total.mean(-1, keepdims=True)
    total = grey + rng.uniform(0.05, 0.6) * (total - grey)
    return np.clip(rng.uniform(60, 190) + rng.uniform(60, 160) * total, 0, 255).astype(np.uint8)


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: an avatar as if it were a photo: bent, unevenly lit, textured, out of focus, dull.

    What is left of the avatar is its layout, which people in photos have too.
    """
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    bend = [cv2.resize(rng.normal(0, rng.uniform(1, 5), (4, 4)).astype(np.float32), (SIZE, SIZE)) for _ in range(2)]
    picture = cv2.remap(image, x + bend[0], y + bend[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT).astype(
        np.float32
    )
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 4.0))
    grey = picture.mean(-1, keepdims=True)
    picture = grey + rng.uniform(0.1, 0.8) * (picture - grey)
    light = cv2.resize(rng.normal(1, 0.3, (3, 3)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    texture = 1 + rng.uniform(0.3, 1.0) * (clouds(rng).mean(-1) / 255.0 - 0.5)
    return np.clip(picture * (light * texture)[..., None], 0, 255).astype(np.uint8)


def shaded_head(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: a softly lit blob of skin colour with dark eyes, mouth and hair, before clouds."""
    picture = clouds(rng).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE]
    cx, cy, rx = rng.uniform(0.3, 0.7) * SIZE, rng.uniform(0.3, 0.6) * SIZE, rng.uniform(0.12, 0.3) * SIZE
    ry = rx * rng.uniform(1.1, 1.5)
    near = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
    skin = np.array([rng.uniform(90, 240), rng.uniform(60, 190), rng.uniform(40, 170)], np.float32)
    light = 1 + 0.35 * (x - cx)[..., None] / rx * rng.uniform(-1, 1) + 0.15 * clouds(rng) / 255.0
    soft = 1 / (1 + np.exp(np.clip(8 * (near - 1), -30, 30)))[..., None]
    picture = picture * (1 - soft) + skin * light * soft
    for dx, dy, sx, sy in ((-0.4, -0.15, 0.17, 0.07), (0.4, -0.15, 0.17, 0.07), (0, 0.5, 0.3, 0.07), (0, -0.9, 1, 0.4)):
        spot = np.exp(-(((x - cx - dx * rx) / (sx * rx)) ** 2 + ((y - cy - dy * ry) / (sy * ry)) ** 2))[..., None]
        picture = picture * (1 - rng.uniform(0.2, 0.8) * spot)
    return np.clip(picture, 0, 255).astype(np.uint8)


def no_avatar(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: something that is no avatar, mostly with a face-like layout; sometimes grainy."""
    kind = rng.random()
    picture = clouds(rng) if kind < 0.2 else shaded_head(rng) if kind < 0.4 else photographed(avatar(rng)[0], rng)
    grain = rng.normal(0, rng.uniform(0, 8), picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def batches(seed: int, batch: int, rank: int = 0) -> Batches:
    """step -> iterator of batches, float32: pixels as `net_input` makes them, and what the network should say, by the
    fields of `AvatarOutput`: presence (b,), box (b, 4) and landmarks (b, 5, 2) in fractions of the square, head and
    oval (b, 32, 32). Every third picture holds no avatar."""
    empty: dict[str, np.ndarray] = {
        "presence": np.zeros((), np.float32),
        "box": np.zeros(4),
        "landmarks": np.zeros((5, 2)),
        "head": np.zeros((32, 32)),
        "oval": np.zeros((32, 32)),
    }

    def batches_from(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            drawn = [(no_avatar(rng), empty) if i % 3 == 2 else avatar(rng) for i in range(batch)]
            truth = {
                name: torch.tensor(np.stack([one[1][name] for one in drawn]), dtype=torch.float32) for name in empty
            }
            yield {"pixels": net_input([image for image, _ in drawn]), **truth}
            step += 1

    return batches_from
