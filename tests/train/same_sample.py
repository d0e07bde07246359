"""When two samples are the same."""

from __future__ import annotations

import numpy as np

from facefact.train.material.samples import Sample


def same_sample(a: Sample, b: Sample) -> bool:
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "face", "head"))
    return same and (a.phrases, a.person, a.yaw, a.light) == (b.phrases, b.person, b.yaw, b.light)
