"""Everything frozen, opened once as the settings name it: the base model from a directory, the hub, the bundle or at
random, and the face encoder with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from facefact import hub
from facefact.device import DTYPES, SHORT, choose_precision, training_device
from facefact.train.material.face_encoder import frozen_encoder
from facefact.train.material.frozen import BUNDLE, Base, Frozen, with_noise_levels
from facefact.train.material.random_base import random_base
from facefact.train.settings import BaseModel, NewAdapter
from facefact.types import UserError


def open_frozen(base: BaseModel, adapter: NewAdapter, *, bundle: Path) -> Frozen:
    """Base model and encoder on the CPU. bundle: the directory of the embedded model. UserError: see the two parts."""
    parts = open_base(base, bundle=bundle)
    encoder = frozen_encoder(adapter.encoder, bundle=bundle)
    return Frozen(**vars(parts), encoder=encoder)


def open_base(settings: BaseModel, *, bundle: Path) -> Base:
    """The base model that the settings name, frozen. The hub is asked only for a hub id that the user named.

    UserError: no such model, a broken one, one of another architecture, an inpainting model."""
    dtype = DTYPES[SHORT[choose_precision(training_device(), settings.dtype)]]
    if settings.source.startswith("random:"):
        base = random_base(settings.source.removeprefix("random:"), dtype)
    else:
        directory = bundle if settings.source == BUNDLE else _directory(settings)
        base = _read_base(directory, dtype, settings.variant)
    _check(base, settings.source)
    if settings.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    for module in base.modules():
        module.requires_grad_(False).eval()
    base.vae.to(memory_format=torch.channels_last)  # (encodes in two thirds of the time)
    return base


def _check(base: Base, source: str) -> None:
    """UserError: an inpainting model, or one of another kind than Stable Diffusion's and SDXL's."""
    unet, vae = base.unet.config, base.vae.config
    if unet.in_channels != vae.latent_channels:
        raise UserError(
            f"{source} is an inpainting model (its U-Net reads {unet.in_channels} channels, the autoencoder has "
            f"{vae.latent_channels}): train for its text-to-image base; the adapter then serves both"
        )
    if unet.addition_embed_type not in (None, "text_time"):
        raise UserError(f"{source} is conditioned by {unet.addition_embed_type}: Stable Diffusion and SDXL are known")
    if base.is_xl and len(base.text_encoders) != 2:
        raise UserError(f"{source} has {len(base.text_encoders)} text model, SDXL has two: is it the refiner?")
    if vae.latents_mean is not None:
        raise UserError(f"{source}: latents with a mean per channel are not supported")
    if base.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(f"{source} predicts {base.scheduler.config.prediction_type}: epsilon or v_prediction is needed")


# A diffusers directory


def _directory(settings: BaseModel) -> Path:
    """Where the base model lies; fetched where the user named a hub id."""
    folders = ("vae", "unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
    weights = f"*.{settings.variant}*.safetensors" if settings.variant else "*.safetensors"
    return hub.directory(
        settings.source,
        revision=settings.revision,
        allow_patterns=[
            "model_index.json",
            *(f"{folder}/{pattern}" for folder in folders for pattern in ("*.json", "*.txt", weights)),
        ],
        ignore_patterns=None if settings.variant else ["*.*.safetensors"],  # (variants have two dots)
        where="base.source: ",
    )


def _read_base(directory: Path, dtype: torch.dtype, variant: str | None) -> Base:
    """The parts of a pipeline's directory. Opens no network connection."""
    classes = _classes(directory)
    options = {"variant": variant, "local_files_only": True}
    text: list[Any] = []
    try:
        for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
            if name in classes:
                text.append(kind.from_pretrained(directory / name, dtype=dtype, **options))
        return Base(
            vae=AutoencoderKL.from_pretrained(directory / "vae", torch_dtype=torch.float32, **options),
            unet=UNet2DConditionModel.from_pretrained(directory / "unet", torch_dtype=dtype, **options),
            text_encoders=tuple(text),
            tokenizers=tuple(
                CLIPTokenizer.from_pretrained(directory / name, local_files_only=True)
                for name in ("tokenizer", "tokenizer_2")
                if name in classes
            ),
            scheduler=with_noise_levels(DDIMScheduler.load_config(directory / "scheduler")),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot open the base model {directory}: {_line(error)}") from error


def _classes(directory: Path) -> dict[str, str]:
    """Part -> class of the parts that the pipeline has. UserError: none, or not one of Stable Diffusion's kind."""
    path = directory / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        classes = {name: pair[1] for name, pair in index.items() if isinstance(pair, list) and pair[1] is not None}
    except FileNotFoundError:
        raise UserError(f"{directory} is no diffusers pipeline: it has no model_index.json") from None
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read: {_line(error)}") from error
    expected = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    for name, kind in expected.items():
        if classes.get(name, kind.__name__) != kind.__name__ or (name in ("unet", "vae") and name not in classes):
            found = classes.get(name, "nothing")
            raise UserError(f"{directory}: its {name} is {found}, training needs {kind.__name__} (SD 1.x, 2.x or SDXL)")
    return classes


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
