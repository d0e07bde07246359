"""The tie between an adapter's layers and one model, and what stands in the model in a layer's place.

A port hides its layer from the model's module tree: state dict, `save_pretrained`, `requires_grad_`, a LoRA that
matches names (`to_q`) and a changed attention processor never see it; only `to()` reaches through.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from facefact.adapter.condition import FaceCondition, Increment
from facefact.adapter.layer import GatedSelfAttention, fill_batch
from facefact.adapter.tokens import TokenSubset
from facefact.types import UserError


class Attachment:
    """The tie between one set of layers and one model, which it does not keep alive. `undo` leaves the model as it was.

    schedule_length: timesteps of the model's noise schedule. take_off: what takes the layers off the model, and calls
    `let_go`. A copy or pickle of the model holds an attachment of its own, which is tied to that copy.
    """

    def __init__(self, model: nn.Module, *, schedule_length: int, take_off: Callable[[nn.Module], None]) -> None:
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self.schedule_length = schedule_length
        self.take_off = take_off
        self._forget()

    def _forget(self) -> None:
        """What was noted of the model's calls. latents: their shape. seen: blocks that this call recorded already."""
        self.timestep: Tensor | None = None
        self.latents: tuple[int, ...] = ()
        self.increments: list[Increment] | None = None
        self.seen: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "schedule_length": self.schedule_length, "take_off": self.take_off}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._model = None if state["model"] is None else weakref.ref(state["model"])
        self.schedule_length = state["schedule_length"]
        self.take_off = state["take_off"]
        self._forget()

    @property
    def model(self) -> nn.Module | None:
        """The model, or None when it is gone or these layers were taken off it."""
        return self._model() if self._model is not None else None

    def undo(self) -> None:
        """Take the layers off; nothing happens when they are off already."""
        if (model := self.model) is not None:
            self.take_off(model)

    def let_go(self) -> None:
        """Called by whoever took the layers off."""
        self._model = None

    def begin(self, condition: FaceCondition) -> FaceCondition:
        """Called once per forward pass of the model, before the first layer: the condition as it counts in this pass.

        UserError: its rows do not fill the batch, or it depends on a timestep and the model was called with none.
        """
        self.seen.clear()
        if condition.start <= 0 and condition.end >= 1:
            return self._tracked(condition)
        if self.timestep is None:
            raise UserError("a face condition with a start or an end needs the model to be called with its timestep")
        timestep = self.timestep.max()
        now = timestep <= (1 - condition.start) * self.schedule_length
        if condition.end < 1:
            now = now & (timestep > (1 - condition.end) * self.schedule_length)
        if torch.compiler.is_compiling():  # one graph for all steps: no branch on a number
            return condition.scaled_by(now.to(condition.face.device))
        return self._tracked(condition) if now else condition._replace(scale=0.0)

    def _tracked(self, condition: FaceCondition) -> FaceCondition:
        """Tells local mode that a pass begins. A compiled model has no memory: it works locally with a mask only."""
        if condition.local is None:
            return condition
        fill_batch(condition.face, self.latents[0])
        known = condition.local.local.mask is not None
        if torch.compiler.is_compiling():
            return condition._replace(local=condition.local.for_known_mask(self.latents) if known else None)
        if self.timestep is None:
            raise UserError("local mode needs the model to be called with its timestep")
        condition.local.begin(self.latents, float(self.timestep.max()))
        return condition

    def note_call(self, latents: Tensor | None, timestep: Any) -> None:
        """Called before each forward pass of the model, with what it was called with.

        latents: (b, channels, height, width). timestep: a number, a tensor of one, or (b,).
        """
        self.latents = () if latents is None else tuple(latents.shape)
        if timestep is None or torch.is_tensor(timestep):
            self.timestep = timestep
        else:  # to the compiler a number that a module holds is a constant, a new model for each
            self.timestep = torch.full((), timestep)

    def note_increments(
        self, block: str, x: Tensor, increments: tuple[Tensor, Tensor], subset: TokenSubset | None
    ) -> None:
        """x: (b, n, c) what entered the block's layer. increments: of the attention and of the feed-forward, each
        (b, n, c), or (b, count, c) of a subset."""
        # Gradient checkpointing runs a block again in the backward pass: only the first time counts.
        if self.increments is not None and block not in self.seen:
            self.seen.add(block)
            nothing = torch.zeros_like(x)
            attention, dense = increments if subset is None else (subset.add(nothing, part) for part in increments)
            self.increments.append(Increment(block, x, attention, attention + dense))

    @contextlib.contextmanager
    def record(self) -> Iterator[list[Increment]]:
        """Collects, inside the `with`, what the layers add."""
        if self.increments is not None:
            raise RuntimeError("increments are being recorded already")
        self.increments = []
        try:
            yield self.increments
        finally:
            self.increments = None


class LayerPort(nn.Module):
    """Stands in a block of the model and applies the layer, which is no child module. None: nothing to apply."""

    def __init__(self, block: str, layer: GatedSelfAttention | None, attachment: Attachment) -> None:
        super().__init__()
        self.block = block
        self.attachment = attachment
        self._hidden = (layer,)  # in a tuple nn.Module does not register it

    def forward(self, x: Tensor, condition: FaceCondition) -> Tensor:
        """x: (b, n, width) latent tokens -> the same with the layer's increments."""
        layer, scale = self._hidden[0], condition.scale_at(self.block)
        if layer is None or (not torch.is_tensor(scale) and scale == 0):
            return x
        if layer.linear.weight.device != x.device:  # the model was moved piecewise (offloading)
            layer.to(x.device)
        subset, increments = None, None
        if condition.local is not None:
            subset, increments = condition.local.tokens(x.shape[1]), condition.local.reusable.get(self.block)
        if increments is None:
            keys = condition.keys.get(self.block) if condition.keys else None
            increments = layer.increments(x, condition.face, scale=scale, keys=keys, subset=subset)
            if condition.local is not None:
                condition.local.note(self.block, x.shape[1], increments)
        self.attachment.note_increments(self.block, x, increments, subset)
        attention, dense = increments
        return x + attention + dense if subset is None else subset.add(x, attention + dense)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerPort:
        if self._hidden[0] is not None:
            self._hidden[0]._apply(fn)
        return self
