"""What the face's condition says to each layer."""

from __future__ import annotations

import torch
from hosts import make_adapter, make_host

from facefact.adapter import FaceCondition, make_condition


def test_the_longest_prefix_that_fits_counts() -> None:
    face = torch.zeros(1, 3, 12)
    condition = FaceCondition(face, {"": 0.1, "up_blocks": 0.2, "up_blocks.1": 0.3})
    names = ("mid_block.x", "up_blocks.0.x", "up_blocks.1.x", "up_blocks.11.x")
    assert [condition.scale_at(name) for name in names] == [0.1, 0.2, 0.3, 0.2]
    assert FaceCondition(face, {"up_blocks": 0.2}).scale_at("mid_block.x") == 0
    assert FaceCondition(face, 0.7).scale_at("mid_block.x") == 0.7


def test_a_multiple_of_a_condition() -> None:
    face = torch.zeros(1, 3, 12)
    assert FaceCondition(face, 0.5).scaled_by(2).scale == 1.0
    assert FaceCondition(face, {"": 0.5, "mid_block": 1.0}).scaled_by(0.5).scale == {"": 0.25, "mid_block": 0.5}


def test_for_use_and_in_training() -> None:
    layers, face = make_adapter(make_host()).layers, torch.randn(2, 3, 12, dtype=torch.float64)
    ready = make_condition(layers, face, scale={"": 0.5, "mid_block": 0})
    assert ready.face.dtype == torch.float32, "as the layers are"
    assert torch.equal(ready.scale_at("x"), torch.tensor(0.5)), "a tensor: one compiled model for every scale"
    assert ready.scale_at("mid_block.x") == 0
    assert not torch.is_tensor(ready.scale_at("mid_block.x")), "a number: those layers are skipped"
    assert ready.keys is not None
    assert ready.keys.keys() == layers.configs.keys()
    assert make_condition(layers.train(), face).keys is None, "their weights will change"
