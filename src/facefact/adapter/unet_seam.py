"""Where a diffusers U-Net has room for the adapter. The one file that knows its seam.

`BasicTransformerBlock.forward` calls `self.fuser(hidden_states, gligen["objs"])` between self-attention and
cross-attention when `cross_attention_kwargs` carries `gligen`. A port in each of these slots, and one for the whole
model that makes the condition ready before each pass, is all that attaching adds. `UNet2DConditionModel.forward` has a
slot for that too: it replaces the content by `{"objs": self.position_net(**gligen)}`. For all others a hook does it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from facefact.adapter.attachment import Attachment, LayerPort
from facefact.adapter.condition import FaceCondition
from facefact.adapter.denoiser import calling_pipelines, denoiser, model_name, schedule_length, transformer_blocks
from facefact.adapter.layer import AdapterLayers, LayerConfig
from facefact.adapter.seam import token_width
from facefact.types import UserError

# Parts of names in ControlNet-XS: `down_blocks.0.base_attentions.0`, `mid_block.base_midblock.attentions.0`.
CONTROL_XS_BASE = re.compile(r"base_(?=attentions\.)|base_midblock\.")
CONTROL_XS_BRANCH = re.compile(r"\.ctrl_(attentions|midblock)\.")


class UNetSeam:
    """The `Seam` of U-Nets made of `BasicTransformerBlock`s: Stable Diffusion 1.5, 2 and XL."""

    def hosts(self, target: Any) -> dict[str, LayerConfig]:
        """One layer for each block that reads the text, with tokens of the text's width."""
        return layer_configs(target)

    def put(self, layers: AdapterLayers, target: Any) -> Attachment:
        """Put the layers into a pipeline's U-Net or a bare one; each then has as many heads as its block.

        UserError: the model has no place for them (it is a GLIGEN model, or no block of it reads text), has an adapter
        already, or is not the kind of base that they were made for; or no face can reach it through the pipeline.
        """
        _check_pipeline(target)
        model = denoiser(target)
        blocks = face_blocks(target)
        _refuse_taken(target)
        _check_call(model)
        _check_fit(layers, model, blocks)

        attachment = Attachment(
            model, schedule_length=schedule_length(target), take_off=self.remove, blocks=tuple(layers.configs)
        )
        for name, block in transformer_blocks(model).items():
            block.fuser = LayerPort(name, None, attachment)
        for name, layer in layers.items():
            layer.attn.heads = blocks[name].attn1.heads
            blocks[name].fuser = LayerPort(name, layer, attachment)
        model.position_net = ConditionPort(attachment, model)
        return attachment

    def remove(self, target: Any) -> None:
        """Take whatever adapter is attached off a pipeline or model; nothing happens when there is none."""
        model = denoiser(target)
        port = getattr(model, "position_net", None)
        if not isinstance(port, ConditionPort):
            return
        for hook in port.hooks:
            hook.remove()
        del model.position_net
        for block in transformer_blocks(model).values():
            if isinstance(getattr(block, "fuser", None), LayerPort):
                del block.fuser
        port.attachment.let_go()

    def kwargs(self, condition: FaceCondition) -> dict[str, Any]:
        """The `cross_attention_kwargs` of a pipeline or U-Net call."""
        return {"gligen": {"objs": condition}}


UNET = UNetSeam()
attach, detach = UNET.put, UNET.remove


class ConditionPort(nn.Module):
    """Makes the condition ready before each forward pass of the model, and sees afterwards whether a layer ran."""

    def __init__(self, attachment: Attachment, model: nn.Module) -> None:
        super().__init__()
        self.attachment = attachment
        self.names = _parameters(model)
        self.calls_slot = "position_net" in inspect.unwrap(type(model).forward).__code__.co_names
        self.hooks: tuple[RemovableHandle, ...] = (
            model.register_forward_pre_hook(self.before, with_kwargs=True),
            model.register_forward_hook(self.after),
        )

    def forward(self, objs: FaceCondition | None = None, **others: Any) -> FaceCondition:
        """In the slot of U-Nets. UserError: a GLIGEN pipeline fills it with its boxes."""
        if objs is None:
            name = next((name for name, _ in calling_pipelines()), "this call")
            raise UserError(
                f"{name} puts GLIGEN's {' and '.join(others)} in the place of the face: take the adapter off "
                "(its detach()), or use a pipeline without GLIGEN"
            )
        return self.attachment.begin(objs)

    def before(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Before each forward pass: of models that do not call the slot, the condition among the arguments as it counts
        in this pass."""
        given = dict(zip(self.names, args, strict=False)) | kwargs
        self.attachment.note_call(given.get(self.names[0]), given.get("timestep"), given.get("encoder_hidden_states"))
        condition = _condition(given)
        if condition is None and not torch.compiler.is_compiling():
            self._note_dropped()
        if condition is None or self.calls_slot:
            return None
        changed = given["cross_attention_kwargs"] | UNET.kwargs(self.attachment.begin(condition))
        place = self.names.index("cross_attention_kwargs")
        if place < len(args):
            return (*args[:place], changed, *args[place + 1 :]), kwargs
        return args, kwargs | {"cross_attention_kwargs": changed}

    def _note_dropped(self) -> None:
        for name, variables in calling_pipelines():
            if (condition := _condition(variables)) is not None:
                self.attachment.note_dropped(condition, name)
                return

    def after(self, model: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        """After each forward pass."""
        self.attachment.end()


def _parameters(model: nn.Module) -> list[str]:
    """The names of what the model is called with, in their order."""
    return list(inspect.signature(type(model).forward).parameters)[1:]


def _condition(given: Mapping[str, Any]) -> FaceCondition | None:
    """Among the arguments of the model, or of a pipeline."""
    kwargs = given.get("cross_attention_kwargs")
    gligen = kwargs.get("gligen") if isinstance(kwargs, Mapping) else None
    condition = gligen.get("objs") if isinstance(gligen, Mapping) else None
    return condition if isinstance(condition, FaceCondition) else None


def face_blocks(target: Any) -> dict[str, Any]:
    """The blocks that get a layer, by name: those that read the text. UserError when there is none.

    ControlNet-XS has the blocks of its base and of its control branch side by side: the base's, by the base's names.
    """
    blocks = {
        CONTROL_XS_BASE.sub("", name): block
        for name, block in transformer_blocks(denoiser(target)).items()
        if block.attn2 is not None and block.attn2.is_cross_attention and not CONTROL_XS_BRANCH.search(name)
    }
    if not blocks:
        raise UserError(
            f"{model_name(target)} has no transformer block that reads text: take a model or pipeline of "
            "Stable Diffusion 1.5, 2 or XL"
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
        for name, block in face_blocks(target).items()
    }


def text_width(target: Any) -> int:
    """Width of the text tokens that a U-Net reads."""
    return token_width(layer_configs(target))


def _check_pipeline(target: Any) -> None:
    """UserError: no face can reach the model through this pipeline."""
    from diffusers import DiffusionPipeline

    if not isinstance(target, DiffusionPipeline):
        return
    name, parameters = type(target).__name__, inspect.signature(type(target).__call__).parameters
    if hasattr(target, "vocoder"):
        raise UserError(f"{name} makes sound, no pictures: take a pipeline of Stable Diffusion 1.5, 2 or XL")
    if "cross_attention_kwargs" not in parameters and all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
        raise UserError(
            f"the call of {name} takes no cross_attention_kwargs, so no face can reach its model: take a pipeline "
            "whose call does, or attach the adapter to the model alone and call that yourself"
        )


def _refuse_taken(target: Any) -> None:
    model, name = denoiser(target), model_name(target)
    port = getattr(model, "position_net", None)
    if isinstance(port, ConditionPort):
        raise UserError(
            f"this {name} has a face adapter already: take it off first (its detach(), or "
            "facefact.adapter.detach(model))"
        )
    if port is not None or any(hasattr(block, "fuser") for block in transformer_blocks(model).values()):
        raise UserError(
            f"this {name} is a GLIGEN model: the place of the face adapter is taken; take a base model without GLIGEN"
        )


def _check_call(model: nn.Module) -> None:
    if "cross_attention_kwargs" not in _parameters(model):
        raise UserError(f"{type(model).__name__} takes no cross_attention_kwargs: a face cannot reach its layers")


def _check_fit(layers: AdapterLayers, model: nn.Module, blocks: Mapping[str, Any]) -> None:
    other = "the adapter was made for another base model"
    for name in layers.configs:
        if name not in blocks:
            raise UserError(f"{other}: it has a layer for {name}, which this {type(model).__name__} lacks")
    for name, block in blocks.items():
        config = layers.configs.get(name)
        if config is None and not layers.carries(name):
            continue
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
