"""What the frozen parts make is what a diffusers pipeline makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from facefact.train.material.base import open_base, open_frozen
from facefact.train.material.encode import encode_faces, encode_ids, encode_pictures, encode_text, token_ids
from facefact.train.material.frozen import Frozen
from facefact.train.settings import BaseModel, NewAdapter
from tiny import tiny_pipeline

NOWHERE = Path("/nowhere")
CAPTIONS = ["portrait of a person, smiling", "", "in a red coat " * 20]


def opened(name: str, dtype: Any = "fp32") -> Frozen:
    settings = BaseModel(source=f"random:{name}", dtype=dtype)
    return open_frozen(settings, NewAdapter(encoder="random:tiny"), bundle=NOWHERE)


@torch.no_grad()
def test_a_directory_gives_what_its_pipeline_gives(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path)
    base = open_base(BaseModel(source=str(tmp_path)), bundle=NOWHERE)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    expected = pipe.vae.encode(images).latent_dist.mode() * 0.18215
    torch.testing.assert_close(encode_pictures(base, images), expected, atol=1e-5, rtol=1e-4)
    states, pooled = encode_text(base, CAPTIONS)
    words, _ = pipe.encode_prompt(CAPTIONS, "cpu", 1, False)
    torch.testing.assert_close(states, words)
    assert pooled is None
    torch.testing.assert_close(base.scheduler.alphas_cumprod, pipe.scheduler.alphas_cumprod)
    assert base.scheduler.config.prediction_type == "epsilon"
    assert not base.scheduler.config.clip_sample
    assert base.factor == 8


@torch.no_grad()
def test_sdxl_text_is_that_of_its_pipeline() -> None:
    from diffusers import StableDiffusionXLPipeline

    frozen = opened("tiny-xl")
    (first, second), (one, two) = frozen.text_encoders, frozen.tokenizers
    pipe = StableDiffusionXLPipeline(frozen.vae, first, second, one, two, frozen.unet, frozen.scheduler)
    words, _, summary, _ = pipe.encode_prompt(CAPTIONS, device="cpu", do_classifier_free_guidance=False)
    states, pooled = encode_text(frozen, CAPTIONS)
    torch.testing.assert_close(states, words)
    torch.testing.assert_close(pooled, summary)
    assert token_ids(frozen, CAPTIONS).shape == (3, 2, 77)
    sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).expand(3, 6)
    added = {"text_embeds": pooled, "time_ids": sizes}
    assert frozen.unet(torch.randn(3, 4, 8, 8), 5, states, added_cond_kwargs=added).sample.isfinite().all()


def test_ids_give_the_states_of_their_captions() -> None:
    for name in ("tiny", "tiny-xl"):
        frozen = opened(name)
        for a, b in zip(encode_ids(frozen, token_ids(frozen, CAPTIONS)), encode_text(frozen, CAPTIONS), strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


def test_latents_are_shifted_before_they_are_scaled() -> None:
    frozen, images = opened("tiny"), torch.rand(1, 3, 32, 32)
    mode = encode_pictures(frozen, images) / frozen.vae.config.scaling_factor
    frozen.vae.register_to_config(shift_factor=0.3, scaling_factor=2.0)
    torch.testing.assert_close(encode_pictures(frozen, images), (mode - 0.3) * 2)


def test_bf16_costs_little_precision() -> None:
    exact, low = opened("tiny"), opened("tiny", "bf16")
    assert low.unet.dtype == low.text_encoders[0].dtype == torch.bfloat16
    assert low.vae.dtype == torch.float32
    images, heads = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 112, 112)
    for make, x in ((encode_pictures, images), (encode_faces, heads)):
        a, b = make(exact, x), make(low, x)
        assert b.dtype == torch.float32
        assert 0 < float((a - b).std() / a.std()) < 0.03
