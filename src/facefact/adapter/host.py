"""Attach adapter layers to a diffusers model, and take them off again. The one file that knows diffusers' seam.

`BasicTransformerBlock.forward` calls `self.fuser(hidden_states, gligen["objs"])` between self-attention and
cross-attention when `cross_attention_kwargs` carries `gligen`, and `UNet2DConditionModel.forward` first replaces its
content by `{"objs": self.position_net(**gligen)}`. A port in each of these two slots is all that attaching adds. The
ports hide the layers from the model's module tree: its state dict, `save_pretrained`, `requires_grad_`, a LoRA that
matches names (`to_q`) and a changed attention processor never see them; only `to()` reaches through.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from facefact.adapter.layer import AdapterLayers, FaceKeys, GatedSelfAttention, LayerConfig, fill_batch
from facefact.adapter.local import Local, Tracker
from facefact.adapter.tokens import Some
from facefact.types import UserError

SCHEDULE_LENGTH = 1000  # timesteps of the noise schedule when only a bare model is given


class FaceCondition(NamedTuple):
    """What travels through the model to the layers.

    face: (r, m, token_width). scale: one number or tensor for all layers, or a mapping from block name prefixes
    ("mid_block", "up_blocks.1", "" for the rest) of which the longest that fits counts; blocks that none fits stay
    out. start, end: the fractions of the noise schedule between which the face counts. keys: what each layer reads of
    the face, where it is known already; it stays the same from step to step. local: where the face is, for local mode.
    """

    face: Tensor
    scale: float | Tensor | Mapping[str, float | Tensor] = 1.0
    start: float = 0.0
    end: float = 1.0
    keys: Mapping[str, FaceKeys] | None = None
    local: Tracker | None = None

    def scale_at(self, block: str) -> float | Tensor:
        if not isinstance(self.scale, Mapping):
            return self.scale
        fitting = [prefix for prefix in self.scale if not prefix or f"{block}.".startswith(f"{prefix}.")]
        return self.scale[max(fitting, key=len)] if fitting else 0.0

    def times(self, factor: float | Tensor) -> FaceCondition:
        """The same condition at a multiple of its scale."""
        if isinstance(self.scale, Mapping):
            return self._replace(scale={prefix: scale * factor for prefix, scale in self.scale.items()})
        return self._replace(scale=self.scale * factor)


def make_condition(
    layers: AdapterLayers,
    face: Tensor,
    *,
    scale: float | Tensor | Mapping[str, float] = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    local: Local | None = None,
    copies: int = 1,
) -> FaceCondition:
    """A condition for these layers where they are, with the face keys when they are not in training.

    Numbers other than 0 become tensors: a compiled model then serves every scale. copies: how often the batch will hold
    the pictures (2: guidance), for local mode.
    """
    weight = next(layers.parameters())
    face = face.to(weight.device, weight.dtype)

    def tensor(number: float | Tensor) -> float | Tensor:
        if torch.is_tensor(number) or number == 0:
            return number
        return torch.tensor(number, device=weight.device, dtype=torch.promote_types(weight.dtype, torch.float32))

    scales = {prefix: tensor(s) for prefix, s in scale.items()} if isinstance(scale, Mapping) else tensor(scale)
    tracker = Tracker.of(local.to(weight.device), copies=copies) if local is not None else None
    return FaceCondition(face, scales, start, end, None if layers.training else layers.face_keys(face), tracker)


@dataclass(frozen=True)
class Increment:
    """What one layer did in one forward pass, for FAIR. Gradients are kept.

    block: the host block's name. entering: (b, n, c) the latent tokens x. attention: (b, n, c) what the gated
    attention added. whole: (b, n, c) what the layer added, feed-forward included. Both with gate and scale.
    """

    block: str
    entering: Tensor
    attention: Tensor
    whole: Tensor


class Attachment:
    """The tie between one set of layers and one model. `undo` leaves the model as it was."""

    def __init__(self, model: nn.Module, schedule_length: int) -> None:
        self._model = weakref.ref(model)
        self.schedule_length = schedule_length
        self.timestep: Tensor | None = None
        self.latents: tuple[int, ...] = ()
        self.increments: list[Increment] | None = None
        self.seen: set[str] = set()

    @property
    def model(self) -> nn.Module | None:
        """The model, or None when it is gone or these layers were taken off it."""
        model = self._model()
        port = getattr(model, "position_net", None)
        return model if isinstance(port, ConditionPort) and port.attachment is self else None

    def undo(self) -> None:
        if self.model is not None:
            detach(self.model)

    def begin(self, condition: FaceCondition) -> FaceCondition:
        """Called once per forward pass of the model, before the first layer."""
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
            return condition.times(now.to(condition.face.device))
        return self._tracked(condition) if now else condition._replace(scale=0.0)

    def _tracked(self, condition: FaceCondition) -> FaceCondition:
        """Tells local mode that a pass begins. A compiled model has no memory: it works locally with a mask only."""
        if condition.local is None:
            return condition
        fill_batch(condition.face, self.latents[0])
        known = condition.local.local.mask is not None
        if torch.compiler.is_compiling():
            return condition._replace(local=condition.local.known(self.latents) if known else None)
        if self.timestep is None:
            raise UserError("local mode needs the model to be called with its timestep")
        condition.local.begin(self.latents, float(self.timestep.max()))
        return condition

    def note_call(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = kwargs.get("sample", args[0] if args else None)
        self.latents = () if latents is None else tuple(latents.shape)
        timestep = kwargs.get("timestep", args[1] if len(args) > 1 else None)
        if timestep is None or torch.is_tensor(timestep):
            self.timestep = timestep
        else:  # to the compiler a number that a module holds is a constant, a new model for each
            self.timestep = torch.full((), timestep)

    def note_increments(self, block: str, x: Tensor, increments: tuple[Tensor, Tensor], some: Some | None) -> None:
        # Gradient checkpointing runs a block again in the backward pass: only the first time counts.
        if self.increments is not None and block not in self.seen:
            self.seen.add(block)
            nothing = torch.zeros_like(x)
            attention, dense = increments if some is None else (some.add(nothing, part) for part in increments)
            self.increments.append(Increment(block, x, attention, attention + dense))

    @contextlib.contextmanager
    def record(self) -> Iterator[list[Increment]]:
        if self.increments is not None:
            raise RuntimeError("increments are being recorded already")
        self.increments = []
        try:
            yield self.increments
        finally:
            self.increments = None


class ConditionPort(nn.Module):
    """In the model's `position_net` slot: hands the condition on, once per forward pass."""

    def __init__(self, attachment: Attachment, hook: RemovableHandle) -> None:
        super().__init__()
        self.attachment = attachment
        self.hook = hook

    def forward(self, objs: FaceCondition) -> FaceCondition:
        return self.attachment.begin(objs)


class LayerPort(nn.Module):
    """In a block's `fuser` slot: applies the layer. The layer is no child module; `to()` still reaches it."""

    def __init__(self, block: str, layer: GatedSelfAttention | None, attachment: Attachment) -> None:
        super().__init__()
        self.block = block
        self.attachment = attachment
        self._hidden = (layer,)  # in a tuple nn.Module does not register it

    def forward(self, x: Tensor, condition: FaceCondition) -> Tensor:
        """x: (b, n, width) between self- and cross-attention -> the same with the layer's increments."""
        layer, scale = self._hidden[0], condition.scale_at(self.block)
        if layer is None or (not torch.is_tensor(scale) and scale == 0):
            return x
        if layer.linear.weight.device != x.device:  # the model was moved piecewise (offloading)
            layer.to(x.device)
        some, increments = None, None
        if condition.local is not None:
            some, increments = condition.local.tokens(x.shape[1]), condition.local.kept.get(self.block)
        if increments is None:
            keys = condition.keys.get(self.block) if condition.keys else None
            increments = layer.increments(x, condition.face, scale=scale, keys=keys, some=some)
            if condition.local is not None:
                condition.local.note(self.block, x.shape[1], increments)
        self.attachment.note_increments(self.block, x, increments, some)
        attention, dense = increments
        return x + attention + dense if some is None else some.add(x, attention + dense)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerPort:
        if self._hidden[0] is not None:
            self._hidden[0]._apply(fn)
        return self


def attach(layers: AdapterLayers, target: Any) -> Attachment:
    """Put the layers into a pipeline's denoiser or a bare model.

    UserError when the model has no place for them, has an adapter already, or is not the kind of base that they were
    made for.
    """
    model = denoiser(target)
    blocks = face_blocks(model)
    _refuse_taken(model)
    _check_fit(layers, model, blocks)

    attachment = Attachment(model, _schedule_length(target))
    for name, layer in layers.items():
        layer.attn.heads = blocks[name].attn1.heads
    for name, block in transformer_blocks(model).items():
        block.fuser = LayerPort(name, layers[name] if name in blocks else None, attachment)
    model.position_net = ConditionPort(
        attachment, model.register_forward_pre_hook(attachment.note_call, with_kwargs=True)
    )
    return attachment


def detach(target: Any) -> None:
    """Take whatever adapter is attached off a pipeline or model; nothing happens when there is none."""
    model = denoiser(target)
    port = getattr(model, "position_net", None)
    if not isinstance(port, ConditionPort):
        return
    port.hook.remove()
    del model.position_net
    for block in transformer_blocks(model).values():
        if isinstance(getattr(block, "fuser", None), LayerPort):
            del block.fuser


def denoiser(target: Any) -> nn.Module:
    """The model inside a pipeline, a compiled model, a peft model or a distributed wrapper."""
    for part in ("unet", "transformer"):
        if not isinstance(target, nn.Module) and isinstance(getattr(target, part, None), nn.Module):
            target = getattr(target, part)
    if not isinstance(target, nn.Module):
        raise UserError(f"{type(target).__name__} is neither a diffusers pipeline with a U-Net nor a model")
    if hasattr(target, "_orig_mod"):  # torch.compile
        return denoiser(target._orig_mod)
    if callable(base := getattr(target, "get_base_model", None)):  # peft
        return denoiser(base())
    if isinstance(target, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        return denoiser(target.module)
    return target


def transformer_blocks(model: nn.Module) -> dict[str, Any]:
    """All diffusers transformer blocks by name."""
    from diffusers.models.attention import BasicTransformerBlock

    return {name: module for name, module in model.named_modules() if isinstance(module, BasicTransformerBlock)}


def face_blocks(model: nn.Module) -> dict[str, Any]:
    """The blocks that get a layer: those that read the text. UserError when there is none."""
    blocks = {
        name: block
        for name, block in transformer_blocks(model).items()
        if block.attn2 is not None and block.attn2.is_cross_attention
    }
    if not blocks:
        raise UserError(
            f"{type(model).__name__} has no transformer block that reads text: the adapter needs a U-Net such as "
            "that of Stable Diffusion 1.5, 2 or XL"
        )
    return blocks


def layer_configs(target: Any, *, token_width: int | None = None) -> dict[str, LayerConfig]:
    """The layers that fit a model. token_width: None for the width of its text."""
    return {
        name: LayerConfig(
            width=block.attn1.query_dim,
            token_width=token_width or block.attn2.cross_attention_dim,
            heads=block.attn1.heads,
            inner_width=block.attn1.inner_dim,
        )
        for name, block in face_blocks(denoiser(target)).items()
    }


def text_width(target: Any) -> int:
    """Width of the text tokens that a model reads."""
    widths = {block.attn2.cross_attention_dim for block in face_blocks(denoiser(target)).values()}
    if len(widths) > 1:
        raise UserError(f"the model reads text of several widths ({sorted(widths)}): one adapter cannot serve it")
    return widths.pop()


def _refuse_taken(model: nn.Module) -> None:
    port = getattr(model, "position_net", None)
    if isinstance(port, ConditionPort):
        raise UserError(
            f"this {type(model).__name__} has a face adapter already: take it off first (its detach(), or "
            "facefact.adapter.detach(model))"
        )
    if port is not None or any(hasattr(block, "fuser") for block in transformer_blocks(model).values()):
        raise UserError(f"this {type(model).__name__} is a GLIGEN model: the place of the face adapter is taken")


def _check_fit(layers: AdapterLayers, model: nn.Module, blocks: Mapping[str, Any]) -> None:
    other = "the adapter was made for another base model"
    for name in layers.configs:
        if name not in blocks:
            raise UserError(f"{other}: it has a layer for {name}, which this {type(model).__name__} lacks")
    for name, block in blocks.items():
        config = layers.configs.get(name)
        if config is None:
            raise UserError(f"{other}: it has no layer for {name} of this {type(model).__name__}")
        for what, made, found in (
            ("width", config.width, block.attn1.query_dim),
            ("text width", config.token_width, block.attn2.cross_attention_dim),
            ("attention width", config.inner_width or config.width, block.attn1.inner_dim),
            ("number of heads", config.heads or block.attn1.heads, block.attn1.heads),
        ):
            if made != found:
                raise UserError(f"{other}: at {name} its {what} is {made}, the model's is {found}")


def _schedule_length(target: Any) -> int:
    config = getattr(getattr(target, "scheduler", None), "config", None)
    return getattr(config, "num_train_timesteps", None) or SCHEDULE_LENGTH
