"""What travels through a model to the adapter's layers, and what they say of their work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from facefact.adapter.layer import AdapterLayers, FaceKeys
from facefact.adapter.local import Local, Tracker
from facefact.adapter.regions import Regions
from facefact.types import UserError

Layout = tuple[bool, ...]  # of a batch: its parts, each with a row for every picture; True: with the face, False: null
PLAIN: Layout = (True,)
GUIDED: Layout = (False, True)


class FaceCondition(NamedTuple):
    """What travels through the model to the layers.

    face: (r, m, token_width). scale: one number or tensor, () or (rows,), for all layers, or a mapping from block name
    prefixes ("mid_block", "up_blocks.1", "" for the rest) of which the longest that fits counts; blocks that none fits
    stay out. start, end: the fractions of the noise schedule between which the face counts. keys: what each layer reads
    of the face, where it is known already; it stays the same from step to step. local: where the face is, for local
    mode. regions: of several people, whose tokens `face` then holds one after the other: where each is. parts: the
    layout of its rows. fits: whether they were laid out as the batch of this pass is.
    """

    face: Tensor
    scale: float | Tensor | Mapping[str, float | Tensor] = 1.0
    start: float = 0.0
    end: float = 1.0
    keys: Mapping[str, FaceKeys] | None = None
    local: Tracker | None = None
    regions: Regions | None = None
    parts: Layout = PLAIN
    fits: bool = False

    @property
    def guided(self) -> bool:
        """Whether it has rows of the null face."""
        return False in self.parts

    def scale_at(self, block: str) -> float | Tensor:
        """The scale of a block's layer: a number, or a tensor () or (rows,)."""
        if not isinstance(self.scale, Mapping):
            return self.scale
        fitting = [prefix for prefix in self.scale if not prefix or f"{block}.".startswith(f"{prefix}.")]
        return self.scale[max(fitting, key=len)] if fitting else 0.0

    def counts_at(self, block: str) -> bool:
        """False where the scale is the number 0: the layer is skipped."""
        scale = self.scale_at(block)
        return torch.is_tensor(scale) or scale != 0

    def scaled_by(self, factor: float | Tensor) -> FaceCondition:
        """The same condition at a multiple of its scale. factor: a number, or a tensor ()."""
        if isinstance(self.scale, Mapping):
            return self._replace(scale={prefix: scale * factor for prefix, scale in self.scale.items()})
        return self._replace(scale=self.scale * factor)

    def laid_out(self, parts: Layout) -> FaceCondition:
        """The same with its rows, [null ; face] or [face], in another layout."""
        if parts == self.parts:
            return self
        people = len(self.face) // len(self.parts)
        starts = [people if self.guided and faced else 0 for faced in parts]
        order = torch.cat([torch.arange(start, start + people) for start in starts]).to(self.face.device)

        def per_row(scale: float | Tensor) -> float | Tensor:
            return scale[order] if torch.is_tensor(scale) and scale.shape == self.face.shape[:1] else scale

        if isinstance(self.scale, Mapping):
            scale: Any = {prefix: per_row(scale) for prefix, scale in self.scale.items()}
        else:
            scale = per_row(self.scale)
        return self._replace(
            face=self.face[order],
            scale=scale,
            keys=self.keys and {block: keys.rows(order) for block, keys in self.keys.items()},
            parts=parts,
        )


def make_condition(
    layers: AdapterLayers,
    face: Tensor,
    *,
    scale: float | Tensor | Mapping[str, float] = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    local: Local | None = None,
    regions: Regions | None = None,
    guided: bool = False,
) -> FaceCondition:
    """A condition for these layers where they are, with the face keys when they are not in training.

    face: (r, m, token_width), of any type and place. scale, start, end, regions: as in FaceCondition. Numbers other
    than 0 become tensors: a compiled model then serves every scale. guided: whether the first half of the rows is null
    faces.
    """
    weight = next(layers.parameters())
    face = face.to(weight.device, weight.dtype)

    def tensor(number: float | Tensor) -> float | Tensor:
        if torch.is_tensor(number) or number == 0:
            return number
        return torch.tensor(number, device=weight.device, dtype=torch.promote_types(weight.dtype, torch.float32))

    scales = {prefix: tensor(s) for prefix, s in scale.items()} if isinstance(scale, Mapping) else tensor(scale)
    parts = GUIDED if guided else PLAIN
    if regions is not None and regions.found and (local is None or local.mask is not None):
        raise UserError("people without a place are found by local mode: local=True, or give each region a mask")
    crowd = None if regions is None else regions.crowd()
    tracker = Tracker.of(local.to(weight.device), copies=len(parts), crowd=crowd) if local is not None else None
    keys = None if layers.training else layers.face_keys(face)
    places = None if regions is None else regions.to(weight.device)
    return FaceCondition(face, scales, start, end, keys, tracker, places, parts)


@dataclass(frozen=True)
class Increment:
    """What one layer did in one forward pass, for FAIR. Gradients are kept.

    block: the host block's name. entering: (b, n, c) the latent tokens x. attention: (b, n, c) what the gated
    attention added. whole: (b, n, c) what the layer added, feed-forward included. Both with gate and scale. ungated:
    (b, n, c) what the attention gave before gate and scale; None: what the layer added was kept from an earlier step
    (local mode).
    """

    block: str
    entering: Tensor
    attention: Tensor
    whole: Tensor
    ungated: Tensor | None = None
