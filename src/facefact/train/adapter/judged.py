"""A validation's figures: whose face a picture shows, and what changed outside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop
from facefact.metrics.scores import change_outside, own_and_other, retrieved
from facefact.train.adapter.painted import Painted
from facefact.train.adapter.references import Reference, Similarity, encoder_embeddings
from facefact.train.engine.aside import aside
from facefact.types import UserError

FACE_MARGIN = 1 / 32  # share of the picture's side by which a found face is grown before "outside" begins


@dataclass(frozen=True)
class Judged:
    """figures: over all pictures, those that could be measured. captions: of each person, what is to be read below the
    reference and below each picture."""

    figures: dict[str, float]
    captions: list[list[str]]


class Judge:
    """Knows what the people look like.

    similarity: how alike faces are; None for the embedding of the adapter's own face encoder, which the training looks
    through: NOT an independent judge, it shows progress and proves nothing (`facefact eval` has the judges). detector:
    None to leave identity and the change outside the face out. UserError: no people.
    """

    def __init__(
        self,
        adapter: FaceAdapter,
        people: Sequence[Reference],
        *,
        detector: Detector | None = None,
        similarity: Similarity | None = None,
    ) -> None:
        if not people:
            raise UserError("validation needs at least one held-out person: set validation.every=0 to do without it")
        self.detector = detector
        self.similarity = similarity or (lambda heads: encoder_embeddings(adapter, heads))
        with aside(adapter):
            self.known = np.stack([one.embedding(adapter, similarity) for one in people])  # (people, d)

    def judge(self, painted: Painted) -> Judged:
        people, prompts = painted.people.shape[:2]
        figures = {"people": float(people), "pictures": float(people * prompts)}
        captions = [[f"person {i + 1}: the reference", *[""] * prompts] for i in range(people)]
        if self.detector is None:
            return Judged(figures, captions)
        heads = {
            (i, j): found
            for i in range(people)
            for j in range(prompts)
            if (found := head_of(painted.people[i, j], self.detector)) is not None
        }
        figures["faces_found"] = float(len(heads))
        if heads:
            own, similarity = np.array([i for i, _ in heads]), self.compare(list(heads.values()))
            figures |= identity_figures(similarity, own)
            for (i, j), row in zip(heads, similarity, strict=True):
                captions[i][j + 1] = f"similarity {row[i]:.2f}"
        captions = [[text or "no face found" for text in row] for row in captions]
        on_base = [found for one in painted.base if (found := head_of(one, self.detector)) is not None]
        if on_base:
            figures["similarity_base"] = round(float(self.compare(on_base).mean()), 4)
        return Judged(figures | outside_figures(painted, self.detector), captions)

    def compare(self, heads: Sequence[np.ndarray]) -> np.ndarray:
        """n aligned heads, (112, 112, 3) uint8 each -> (n, people) cosines."""
        return self.similarity(np.stack(heads)) @ self.known.T


def identity_figures(similarity: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """similarity: (n, people) cosines of the faces that were found. own: (n,) whose each should be."""
    if similarity.shape[1] < 2:
        return {"similarity_own": round(float(similarity[:, 0].mean()), 4)}
    right, other = own_and_other(similarity, own)
    found = {
        "similarity_own": right,
        "similarity_other": other,
        "similarity_gap": right - other,
        "rank1": retrieved(similarity, own),
    }
    return {name: round(float(values.mean()), 4) for name, values in found.items()}


def outside_figures(painted: Painted, detector: Detector) -> dict[str, float]:
    """Mean absolute change (0..255) outside the faces of both pictures; pictures without any face do not count."""
    faces_of_base = np.stack([face_region(one, detector) for one in painted.base])
    inside = np.concatenate(
        [faces_of_base | np.stack([face_region(one, detector) for one in row]) for row in painted.people]
    )
    counts = inside.any((1, 2)) & ~inside.all((1, 2))
    base = np.concatenate([painted.base] * len(painted.people))
    changes = change_outside(np.concatenate(painted.people), base, inside)[counts]
    return {"outside_change": round(float(changes.mean()), 4)} if len(changes) else {}


def head_of(picture: np.ndarray, detector: Detector) -> np.ndarray | None:
    """(h, w, 3) uint8 -> (112, 112, 3) uint8: the aligned head of the largest face; None where none is found."""
    try:
        return face_crop(picture, detector=detector, warn=False).pixels
    except UserError:
        return None


def face_region(picture: np.ndarray, detector: Detector) -> np.ndarray:
    """(h, w) bool: the largest face and a margin around it (its oval, else the ellipse in its box); all False where
    none is found."""
    height, width = picture.shape[:2]
    plane = np.zeros((height, width), np.uint8)
    for found in detector.detect(picture)[:1]:
        if found.oval is not None:
            cv2.fillPoly(plane, [np.round(found.oval).astype(np.int32)], 1)
        else:
            x0, y0, x1, y1 = found.box
            axes = (max(1, round((x1 - x0) / 2)), max(1, round((y1 - y0) / 2)))
            cv2.ellipse(plane, (round((x0 + x1) / 2), round((y0 + y1) / 2)), axes, 0, 0, 360, 1, cv2.FILLED)
    side = 2 * round(FACE_MARGIN * width) + 1
    return cv2.dilate(plane, np.ones((side, side), np.uint8)).astype(bool)
