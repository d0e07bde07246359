"""A validation's pictures: the same prompts and noise every time, by the base model and with each person's face."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facefact.autoencoder import decode
from facefact.face_adapter import FaceAdapter
from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.engine.aside import aside
from facefact.train.settings import Validation
from facefact.types import FaceTokens, UserError

AT_ONCE = 8  # pictures in one call of the pipeline


@dataclass(frozen=True)
class Painted:
    """base: (prompts, s, s, 3) uint8, the base model's. people: (people, prompts, s, s, 3), the same with each face."""

    base: np.ndarray
    people: np.ndarray


class Painter:
    """Draws with the parts of a training, which `untouched` leaves as they are.

    pipe: a stock Stable Diffusion (XL) pipeline around the parts that are being trained on (`live_pipeline`); its text
    encoders are read here, once, and may go afterwards. settings: how it samples. size: pixels of a side, None for the
    model's own. UserError: no prompts.
    """

    def __init__(
        self, pipe: Any, adapter: FaceAdapter, prompts: Sequence[str], settings: Validation, *, size: int | None = None
    ) -> None:
        if not prompts:
            raise UserError("validation needs at least one prompt: set validation.every=0 to do without it")
        self.pipe, self.adapter, self.settings, self.size = quiet_copy(pipe), adapter, settings, size
        self.prompts = list(prompts)
        with untouched(pipe, adapter):
            self.words = encode_prompts(pipe, self.prompts, guidance=self.guided)

    @property
    def guided(self) -> bool:
        return self.settings.guidance_scale > 1

    def paint(self, people: Sequence[Tensor]) -> Painted:
        """people: of each, (n, t, width) encoder tokens."""
        return Painted(self.base, np.stack([self.with_face(tokens) for tokens in people]))

    @cached_property
    def base(self) -> np.ndarray:
        """(prompts, s, s, 3) uint8; frozen as it is, the base model draws its pictures once."""
        return self._paint(lambda part: {})

    def with_face(self, tokens: Tensor) -> np.ndarray:
        """(n, t, width) encoder tokens -> (prompts, s, s, 3) uint8: one person's row."""
        face = FaceTokens(face_tokens(self.adapter, tokens[None]).face, self.adapter.null_tokens(len(tokens)))
        condition = self.adapter.condition(face, scale=self.settings.scale, guidance=self.guided)
        return self._paint(lambda part: {"cross_attention_kwargs": condition})

    def _paint(self, extra: Callable[[slice], dict[str, Any]]) -> np.ndarray:
        """(prompts, s, s, 3) uint8. The noise of prompt j is that of seed + j, whoever is in the picture."""
        made = []
        for start in range(0, len(self.prompts), AT_ONCE):
            part = slice(start, min(start + AT_ONCE, len(self.prompts)))
            seeds = range(self.settings.seed + part.start, self.settings.seed + part.stop)
            result = self.pipe(
                **{name: states[part] for name, states in self.words.items()},
                num_inference_steps=self.settings.num_inference_steps,
                guidance_scale=self.settings.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                height=self.size,
                width=self.size,
                output_type="latent",
                **extra(part),
            )
            made.append(pictures_of(self.pipe.vae, result.images))
        return np.concatenate(made)


def quiet_copy(pipe: Any) -> Any:
    """The pipeline with the same parts but a scheduler of its own, without progress bars, and without text encoders (by
    whose number type it would run, and not by the U-Net's)."""
    own = copy.copy(pipe)
    own.set_progress_bar_config(disable=True)
    own.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    for name in ("text_encoder", "text_encoder_2"):
        if hasattr(own, name):
            setattr(own, name, None)
    return own


def encode_prompts(pipe: Any, prompts: Sequence[str], *, guidance: bool) -> dict[str, Tensor]:
    """The pipeline's arguments that stand for the prompts (and, under guidance, for the empty one), (prompts, ...)
    each."""
    names = ["prompt_embeds", "negative_prompt_embeds"]
    if getattr(pipe, "text_encoder_2", None) is not None:
        names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
    states = pipe.encode_prompt(
        list(prompts), device=pipe.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=guidance
    )
    like = {"device": pipe.unet.device, "dtype": pipe.unet.dtype}
    return {name: one.to(**like) for name, one in zip(names, states, strict=True) if one is not None}


def pictures_of(vae: Any, latents: Tensor) -> np.ndarray:
    """(n, c, h, w) latents as the U-Net has them -> (n, H, W, 3) uint8. (A pipeline's own decoding wants the
    autoencoder in the U-Net's number type; in training they differ.)"""
    pixels = decode(vae, latents).nan_to_num().clamp(-1, 1)
    return torch.round((pixels + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()


@contextlib.contextmanager
def untouched(pipe: Any, adapter: FaceAdapter) -> Iterator[None]:
    """Draw pictures with the parts of a training, without gradients; afterwards all is as it was: random generators,
    modes, where the autoencoder lies, and whether the adapter was attached."""
    parts = [one for one in pipe.components.values() if isinstance(one, nn.Module)]
    vae, place, attached = pipe.vae, pipe.vae.device, adapter.attached is not None
    with aside(adapter, *parts):
        if not attached:
            adapter.train().attach(pipe)  # (in `eval` mode the layers would take on the model's number type)
            adapter.eval()
        vae.to(pipe.unet.device)
        try:
            yield
        finally:
            vae.to(place)
            if not attached:
                adapter.detach()
