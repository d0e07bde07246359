"""What is inside a diffusers pipeline, or whatever wraps its model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch import nn

from facefact.types import UserError

SCHEDULE_LENGTH = 1000  # timesteps of the noise schedule when only a bare model is given


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


def schedule_length(target: Any) -> int:
    """Timesteps of the noise schedule that a pipeline's model was trained with."""
    config = getattr(getattr(target, "scheduler", None), "config", None)
    return getattr(config, "num_train_timesteps", None) or SCHEDULE_LENGTH


def model_name(target: Any) -> str:
    """What messages call the model of a pipeline, or a bare one."""
    model = type(denoiser(target)).__name__
    return model if isinstance(target, nn.Module) else f"{model} of {type(target).__name__}"


def calling_pipelines() -> Iterator[tuple[str, dict[str, Any]]]:
    """The running calls of pipelines, from the innermost: the pipeline's name, and the call's local variables."""
    from diffusers import DiffusionPipeline

    frame = sys._getframe().f_back
    while frame is not None:
        variables = frame.f_locals
        if isinstance(caller := variables.get("self"), DiffusionPipeline):
            yield type(caller).__name__, variables
        frame = frame.f_back


def calling_pipeline() -> str | None:
    """The name of the pipeline whose call is running, for messages; None outside of one."""
    return next((name for name, _ in calling_pipelines()), None)
