"""Groups: two to four people side by side in one scene, with each one's masks and landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from facefact.world.canvas import Canvas
from facefact.world.draw import render
from facefact.world.factors import Look, Person
from facefact.world.scene import draw_scene, shade

MOST = 4  # people
SHARED = ("scene", "light")  # choices that a group has in common


@dataclass(frozen=True)
class GroupRendering:
    """A picture of n people with its ground truth, from left to right.

    image: (size, width, 3) uint8 RGB. faces, heads: (n, size, width) bool, as in Rendering; of people behind others
    what is seen. landmarks: (n, 5, 2) float32 pixels. lefts: (n,) where each one's square begins, pixels.
    """

    image: np.ndarray
    faces: np.ndarray
    heads: np.ndarray
    landmarks: np.ndarray
    lefts: np.ndarray

    @property
    def squares(self) -> list[np.ndarray]:
        """(size, size, 3) uint8 of each person, neighbours included where they reach in."""
        size = len(self.image)
        return [self.image[:, left : left + size] for left in self.lefts]


def together(looks: Sequence[Look]) -> list[Look]:
    """The looks in one picture: all in the scene and the light of the first."""
    first = looks[0]
    shared = {name: first[name] for name in SHARED}
    return [replace(one, choices=one.choices | shared, variation=first.variation) for one in looks]


def render_group(
    people: Sequence[Person], looks: Sequence[Look], *, size: int = 128, spacing: float = 1.0
) -> GroupRendering:
    """1 to 4 people, as tall as `size` pixels, `spacing` sizes apart; who stands further right stands in front.

    The scene and the light are the first look's. Deterministic, as `render`. ValueError: nobody, too many, or not a
    look for each.
    """
    if not 1 <= len(people) <= MOST or len(looks) != len(people):
        raise ValueError(f"{len(people)} people with {len(looks)} looks: 1 to {MOST} people, a look for each")
    looks = together(looks)
    lefts = np.round(np.arange(len(people)) * spacing * size).astype(int)
    scene = _scene(looks[0], size)
    image = np.concatenate([scene, scene[:, ::-1]] * len(people), 1)[:, : lefts[-1] + size].copy()
    faces, heads = (np.zeros((len(people), *image.shape[:2]), bool) for _ in range(2))
    points = []
    for i, (who, shown, left) in enumerate(zip(people, looks, lefts, strict=True)):
        one, part = render(who, shown, size=size), np.s_[:, left : left + size]
        body = (one.image != scene).any(-1)
        image[part] = np.where(body[..., None], one.image, image[part])
        faces[:i][(slice(None), *part)] &= ~body
        heads[:i][(slice(None), *part)] &= ~body
        faces[i][part], heads[i][part] = one.face, one.head
        points.append(one.landmarks + np.array([left, 0], np.float32))
    return GroupRendering(image, faces, heads, np.stack(points), lefts)


def _scene(shown: Look, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the scene in its light, and nobody."""
    canvas = Canvas(size)
    draw_scene(canvas, shown)
    return shade(canvas.finish(), shown)
