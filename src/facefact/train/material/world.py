"""The portrait world as a source, and its renders as trainings see them: with the imperfections of detectors and
decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from facefact.faces.align import align
from facefact.train.material.samples import Phrase, Sample, brightness, content_key
from facefact.world import OPTIONAL, Rendering, look, person, phrases, render, training_seed
from facefact.world.version import world_name

PEOPLE_PER_BLOCK = 32
JITTER = 5  # names the random stream of the condition's imperfections
HEAD_SIZE = 128  # pixels of the render that the condition is cut from, whatever the size of the training picture


class WorldSource:
    """Rendered avatars: `looks` pictures of each of `people` persons, in a row. Never a person of the evaluation.

    More people begin with the same people: a larger set has the samples of a smaller one.
    """

    def __init__(self, people: int, looks: int, seed: int) -> None:
        self.looks = looks
        self.seeds: list[tuple[int, int]] = []  # (person, look) of every sample
        for block in range(-(-people // PEOPLE_PER_BLOCK)):
            rng = np.random.default_rng((seed, block))
            for _ in range(PEOPLE_PER_BLOCK):
                who = training_seed(rng)
                self.seeds += [(who, training_seed(rng)) for _ in range(looks)]
        del self.seeds[people * looks :]

    def keys(self) -> Sequence[str]:
        return [content_key("world", world_name(), who, shown) for who, shown in self.seeds]

    def about(self) -> Mapping[str, object]:
        return {"source": "world", "world": world_name()}

    def sample(self, index: int, size: int) -> Sample:
        """The render, and its condition with the imperfections of a detector; both functions of the seeds alone."""
        who, shown = self.seeds[index]
        rng = np.random.default_rng((who, shown, JITTER))
        someone, one = person(who), look(shown)
        drawn = render(someone, one, size=size)
        cut_from = drawn if size == HEAD_SIZE else render(someone, one, size=HEAD_SIZE)
        return Sample(
            image=drawn.image,
            face=drawn.face.astype(np.float32),
            landmarks=drawn.landmarks,
            head=aligned_head(cut_from, rng),
            phrases=tuple(Phrase(text, optional=name in OPTIONAL) for name, text in phrases(one).items()),
            person=str(who),
            yaw=one.yaw,
            light=brightness(drawn.image, drawn.face),
            face_size=float(drawn.face.mean()),
            original=(size, size),
        )

    def why_not(self, index: int) -> tuple[str, str]:
        raise ValueError("every sample of the world is usable")


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
    """(n, 2) landmarks in pixels of a render of `size`, off by up to about a pixel in 128, in some renders more than in
    others."""
    return points + rng.normal(0, 0.008 * size, points.shape).astype(np.float32) * rng.random()


def softened(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(h, w, 3) uint8: every other picture a little blurred and noisy, as decoded pictures are."""
    if rng.random() < 0.5:
        return image
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.2) * image.shape[0] / 128)
    noise = rng.normal(0, rng.uniform(0, 6), image.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)
