"""The figures of the people that the preparation finds."""

from __future__ import annotations

import numpy as np

from facefact.bench.people import LabelledFaces, figures
from facefact.data.clusters import average_linkage


def test_figures_are_perfect_for_people_far_apart_and_bad_for_noise() -> None:
    people, rng = np.arange(60) // 5, np.random.default_rng(0)
    near = np.eye(16)[people] + 0.02 * rng.normal(size=(60, 16))
    noise = rng.normal(size=(60, 16))
    good, bad = (
        figures(LabelledFaces(faces, people), average_linkage(faces, 0.6), outlier=0.8)
        for faces in (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (near, noise))
    )
    for name in ("auc", "precision", "recall", "held_out_precision", "held_out_recall"):
        assert good[name].value == 1
    for name in ("auc", "recall", "held_out_precision"):
        assert bad[name].value < 0.7
    for name in ("own_rejected", "intruders_missed", "crowd_missed"):
        assert good[name].value == 0
    assert bad["own_rejected"].value > 0.5
    assert (good["recall"].n, good["own_rejected"].n, good["crowd_missed"].n) == (120, 60, 12 * 10 * 4)
