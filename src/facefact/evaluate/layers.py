"""Which layers of an adapter do anything: a layer that adds nothing inside the face is dead, whatever it may cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from facefact.adapter import Increment
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Painter
from facefact.evaluate.protocol import Case
from facefact.face_adapter import FaceAdapter
from facefact.train.losses.fair import ALIVE, mask_for, size_in
from facefact.types import FaceTokens


def layers_alive(
    cases: Sequence[Case], painter: Painter, adapter: FaceAdapter, tokens: FaceTokens, judges: Judges
) -> np.ndarray:
    """(layers,) 1.0 where the layer's share of change inside the face, over all steps of the cases' pictures, is at
    least `ALIVE`, else 0.0. tokens: as `Painter.adapted` takes them."""
    increments: list[Increment] = []

    @contextmanager
    def recorded() -> Iterator[None]:
        with adapter.record() as noted:
            yield
        increments.extend(noted)

    pictures = painter.adapted(cases, adapter, tokens, "layers", during=recorded)
    faces = judges.faces(pictures)
    shares: dict[str, list[float]] = {}
    for one in increments:
        shares.setdefault(one.block, []).append(inside_share(one, faces))
    return np.array([float(np.mean(values) >= ALIVE) for values in shares.values()])


def inside_share(increment: Increment, faces: np.ndarray) -> float:
    """|increment| / |what entered| inside the face, the mean of n pictures. faces: (n, h, w) bool; the batch may hold
    them twice (guidance), the half with the face last."""
    n = len(faces)
    added, entering = (x[-n:].cpu() for x in (increment.whole, increment.entering))
    inside = mask_for(torch.from_numpy(faces).float(), entering.shape[1])[..., 0]
    return float((size_in(added, inside) / size_in(entering, inside)).mean())
