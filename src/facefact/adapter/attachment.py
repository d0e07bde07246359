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

from facefact.adapter.batch import BatchReader
from facefact.adapter.condition import FaceCondition, Increment
from facefact.adapter.denoiser import calling_pipeline
from facefact.adapter.layer import GatedSelfAttention
from facefact.adapter.tokens import TokenSubset
from facefact.types import UserError


class Attachment:
    """The tie between one set of layers and one model, which it does not keep alive. `undo` leaves the model as it was.

    schedule_length: timesteps of the model's noise schedule. take_off: what takes the layers off the model, and calls
    `let_go`. blocks: those that have a layer, where it is to be noticed that none ran. A copy or pickle of the model
    holds an attachment of its own, which is tied to that copy.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        schedule_length: int,
        take_off: Callable[[nn.Module], None],
        blocks: tuple[str, ...] = (),
    ) -> None:
        self._model: weakref.ref[nn.Module] | None = weakref.ref(model)
        self.schedule_length = schedule_length
        self.take_off = take_off
        self.blocks = blocks
        self._forget()

    def _forget(self) -> None:
        """What was noted of the model's calls. latents, text: of the pass. seen: blocks that it recorded already.

        arrived: whether the model was called with a condition. ran: whether a layer did in this pass. asked, served:
        the face of the pass, and the last one for which a layer ran. condition: as it counts in the pass. dropped: the
        face that the last pass should have got from its pipeline, and that pass's timestep.
        """
        self.timestep: Tensor | None = None
        self.latents: Tensor | None = None
        self.text: Tensor | None = None
        self.batch = BatchReader()
        self.arrived = self.ran = False
        self.condition: FaceCondition | None = None
        self.dropped: tuple[Tensor, float] | None = None
        self.asked: Tensor | None = None
        self.served: Tensor | None = None
        self.increments: list[Increment] | None = None
        self.seen: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("schedule_length", "take_off", "blocks")
        return {"model": self.model, **{name: getattr(self, name) for name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model = state.pop("model")
        self.__dict__.update(state)
        self._model = None if model is None else weakref.ref(model)
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

        UserError: its people do not fit the batch, or it depends on a timestep and the model was called with none.
        """
        self.seen.clear()
        self.arrived, self.ran, self.dropped = True, False, None
        fitting = self.batch.fit(condition, self.model, self.latents, self.text)._replace(fits=True)
        counting = self._placed(self._tracked(self._now(fitting)))
        if not torch.compiler.is_compiling():
            self.asked, self.condition = condition.face, counting
        return counting

    def _now(self, condition: FaceCondition) -> FaceCondition:
        """At scale 0 outside of its start and end."""
        if condition.start <= 0 and condition.end >= 1:
            return condition
        if self.timestep is None:
            raise UserError("a face condition with a start or an end needs the model to be called with its timestep")
        timestep = self.timestep.max()
        now = timestep <= (1 - condition.start) * self.schedule_length
        if condition.end < 1:
            now = now & (timestep > (1 - condition.end) * self.schedule_length)
        if torch.compiler.is_compiling():  # one graph for all steps: no branch on a number
            return condition.scaled_by(now.to(condition.face.device))
        return condition if now else condition._replace(scale=0.0, local=None)

    def _tracked(self, condition: FaceCondition) -> FaceCondition:
        """Tells local mode that a pass begins. A compiled model has no memory: it works locally with a mask only."""
        if condition.local is None:
            return condition
        copies, shape = len(condition.parts), _shape_of_pictures(self.latents)
        known = condition.local.local.mask is not None
        if torch.compiler.is_compiling():
            return condition._replace(local=condition.local.for_known_mask(shape, copies) if known else None)
        if self.timestep is None:
            raise UserError("local mode needs the model to be called with its timestep")
        condition.local.begin(shape, float(self.timestep.max()), copies)
        return condition

    def _placed(self, condition: FaceCondition) -> FaceCondition:
        """With the regions of several people as they lie in this pass."""
        if condition.regions is None:
            return condition
        shape, copies = _shape_of_pictures(self.latents), len(condition.parts)
        moved = None if condition.local is None else condition.local.people()
        regions = condition.regions if moved is None else condition.regions.moved(moved)
        return condition._replace(regions=regions.in_pass(shape, copies))

    def note_call(self, latents: Tensor | None, timestep: Any, text: Any = None) -> None:
        """Called before each forward pass of the model, with what it was called with.

        latents: (b, channels[, frames], height, width). timestep: a number, a tensor of one, or (b,). text: (b, ...).
        """
        self.latents = latents
        self.text = text if torch.is_tensor(text) else None
        if timestep is None or torch.is_tensor(timestep):
            self.timestep = timestep
        else:  # to the compiler a number that a module holds is a constant, a new model for each
            self.timestep = torch.full((), timestep)

    def note_dropped(self, condition: FaceCondition, pipeline: str) -> None:
        """Called before each forward pass that has no condition while its pipeline was given one.

        UserError: the condition counts, and the pipeline has made a whole step without it. (One step may have passes
        without the face beside those with it.)
        """
        if self.timestep is None or not any(condition.counts_at(block) for block in self.blocks):
            return
        timestep, before = float(self.timestep.max()), self.dropped
        self.dropped = condition.face, timestep
        if before is not None and before[0] is condition.face and before[1] != timestep:
            self.dropped = None
            raise UserError(
                f"{pipeline} keeps the face from its model (it drops cross_attention_kwargs): take another pipeline "
                "of the same base model, or ask for scale 0"
            )

    def end(self) -> None:
        """Called after each forward pass.

        UserError: it had a condition that counts, and no layer ran. (Later passes of a portrait may leave blocks out:
        caches.)
        """
        condition, self.condition = self.condition, None
        self.latents = self.text = self.timestep = None
        if condition is None:
            return
        if self.ran:
            self.served = self.asked
        elif self.served is not self.asked and any(condition.counts_at(block) for block in self.blocks):
            raise UserError(
                f"{calling_pipeline() or type(self.model).__name__} was given a face, and none of the adapter's layers "
                "ran: something replaced the model's blocks or drops what they are given (token merging, a compiled "
                "engine, an attention processor); take it off, or ask for scale 0"
            )

    def note_increments(
        self,
        block: str,
        x: Tensor,
        increments: tuple[Tensor, Tensor],
        subset: TokenSubset | None,
        ungated: Tensor | None = None,
    ) -> None:
        """x: (b, n, c) what entered the block's layer. increments: of the attention and of the feed-forward, each
        (b, n, c), or (b, count, c) of a subset. ungated: the attention's before its gate, shaped as they are."""
        # Gradient checkpointing runs a block again in the backward pass: only the first time counts.
        if self.increments is not None and block not in self.seen:
            self.seen.add(block)
            nothing = torch.zeros_like(x)
            attention, dense = increments if subset is None else (subset.add(nothing, part) for part in increments)
            if ungated is not None and subset is not None:
                ungated = subset.add(nothing, ungated.to(x.dtype))
            self.increments.append(Increment(block, x, attention, attention + dense, ungated))

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


def _shape_of_pictures(latents: Tensor | None) -> tuple[int, ...]:
    """As the layers see them: (b * frames, channels, height, width)."""
    if latents is None:
        raise UserError("local mode and regions need the model to be called with its latents")
    if latents.ndim == 5:
        b, channels, frames, *size = latents.shape
        return (b * frames, channels, *size)
    return tuple(latents.shape)


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
        if layer is None or not condition.counts_at(self.block):
            return x
        if not condition.fits:
            raise UserError("the model was called by its forward(): call the model itself, or its pipeline")
        self.attachment.ran = True
        if layer.linear.weight.device != x.device:  # the model was moved piecewise (offloading)
            layer.to(x.device)
        subset, increments = None, None
        ungated: list[Tensor] = []
        if condition.local is not None:
            subset, increments = condition.local.tokens(x.shape[1]), condition.local.reusable.get(self.block)
        if increments is None:
            keys = condition.keys.get(self.block) if condition.keys else None
            shares = None if condition.regions is None else condition.regions.shares(x.shape[1])
            asked = None if self.attachment.increments is None else ungated.append
            increments = layer.increments(
                x, condition.face, scale=scale, keys=keys, subset=subset, shares=shares, ungated=asked
            )
            if condition.local is not None:
                condition.local.note(self.block, x.shape[1], increments)
        self.attachment.note_increments(self.block, x, increments, subset, *ungated)
        attention, dense = increments
        return x + attention + dense if subset is None else subset.add(x, attention + dense)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerPort:
        if self._hidden[0] is not None:
            self._hidden[0]._apply(fn)
        return self
