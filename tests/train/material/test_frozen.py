"""The frozen parts: from a directory, the bundle or random; what they make is what a diffusers pipeline makes."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from facefact import FaceAdapter, checkpoint
from facefact.demo import bundle_path
from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.material.frozen import (
    SHAPES,
    Frozen,
    byte_tokenizer,
    empty_parts,
    encode_faces,
    encode_ids,
    encode_pictures,
    encode_text,
    open_base,
    open_encoder,
    open_frozen,
    token_ids,
)
from facefact.train.settings import BaseModel, NewAdapter
from facefact.types import UserError
from tiny import tiny_adapter, tiny_pipeline

NOWHERE = Path("/nowhere")
CAPTIONS = ["portrait of a person, smiling", "", "in a red coat " * 20]


def opened(name: str, dtype: Any = "fp32") -> Frozen:
    settings = BaseModel(source=f"random:{name}", dtype=dtype)
    return open_frozen(settings, NewAdapter(encoder="random:tiny"), bundle=NOWHERE)


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A saved pipeline of Stable Diffusion's kind."""
    path = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(path)
    return path


# What they make


@torch.no_grad()
def test_a_directory_gives_what_its_pipeline_gives(directory: Path) -> None:
    pipe, base = tiny_pipeline(), open_base(BaseModel(source=str(directory)), bundle=NOWHERE)
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


def test_nothing_of_it_learns() -> None:
    frozen = opened("tiny-xl")
    assert len(frozen.modules()) == 5
    for module in frozen.modules():
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


# Random weights


def test_the_published_sizes() -> None:
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    vae, unet, (text,) = empty_parts(SHAPES["sd15"], byte_tokenizer())
    assert [count(one) for one in (vae, unet, text)] == [83_653_863, 859_520_964, 123_060_480]
    vae, unet, (one, two) = empty_parts(SHAPES["sdxl"], byte_tokenizer())
    assert [count(part) for part in (vae, unet, one, two)] == [83_653_863, 2_567_463_684, 123_060_480, 694_659_840]
    assert unet.config.cross_attention_dim == one.config.hidden_size + two.config.hidden_size


def test_random_weights_are_always_the_same_and_no_two_layers_alike() -> None:
    a, b = opened("tiny"), opened("tiny")
    assert a.hashes == b.hashes
    named = dict(a.text_encoders[0].named_parameters())
    first, second = (value for name, value in named.items() if name.endswith("q_proj.weight"))
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    opened("tiny")
    assert torch.equal(state, torch.random.get_rng_state())  # opening draws nothing from the run's own numbers


def test_hashes_tell_what_changed() -> None:
    a, b = opened("tiny"), opened("tiny")
    with torch.no_grad():
        b.vae.encoder.conv_in.weight[0, 0, 0, 0] += 1
    assert a.hashes["vae"] != b.hashes["vae"]
    assert a.hashes["text"] == b.hashes["text"]
    assert a.hashes["encoder"] == b.hashes["encoder"]


# The bundle and the encoder's homes


def test_the_bundle_opens() -> None:
    frozen = open_frozen(BaseModel(), NewAdapter(), bundle=bundle_path())
    assert frozen.scheduler.config.prediction_type == "v_prediction"
    assert encode_faces(frozen, torch.zeros(1, 3, 112, 112)).shape == (1, 49, 160)


def test_an_encoder_is_the_same_from_all_its_homes(tmp_path: Path) -> None:
    adapter = tiny_adapter(tiny_pipeline())
    adapter.save_pretrained(tmp_path / "adapter")
    adapter.save_pretrained(tmp_path / "bundle" / "adapter")
    checkpoint.save(tmp_path / "transface", adapter.encoder.state_dict(), asdict(adapter.encoder.config))
    published = TransFace(TransFaceConfig(patch_size=28, width=64, depth=2, heads=1, embedding_size=8))
    torch.save(published.state_dict(), tmp_path / "published.pt")
    expected = checkpoint.content_hash(adapter.encoder.state_dict())
    for source in (str(tmp_path / "adapter"), str(tmp_path / "transface"), "bundle"):
        found = open_encoder(source, bundle=tmp_path / "bundle")
        assert checkpoint.content_hash(found.state_dict()) == expected
    found = open_encoder(str(tmp_path / "published.pt"), bundle=NOWHERE)
    assert checkpoint.content_hash(found.state_dict()) == checkpoint.content_hash(published.state_dict())
    assert isinstance(FaceAdapter.new(tiny_pipeline(), encoder=found), FaceAdapter)


# What cannot be used


def changed(directory: Path, goal: Path, file: str, **values: Any) -> str:
    """A copy of a pipeline's directory with other values in one of its JSON files."""
    shutil.copytree(directory, goal)
    tree = json.loads((goal / file).read_text())
    (goal / file).write_text(json.dumps(tree | values))
    return str(goal)


def test_what_cannot_be_a_base_is_said_in_one_line(directory: Path, tmp_path: Path) -> None:
    tiny_pipeline(in_channels=9).save_pretrained(tmp_path / "inpainting")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model_index.json").write_text("{")
    unet = "unet/config.json"
    for source, message in (
        (str(tmp_path / "inpainting"), "inpainting model .* reads 9 channels"),
        (str(tmp_path / "empty"), "no model_index"),
        (str(tmp_path / "broken"), "cannot be read"),
        (str(tmp_path / "gone"), "no directory"),
        ("random:huge", "sd15, sdxl"),
        (changed(directory, tmp_path / "a", "model_index.json", unet=["diffusers", "FluxTransformer2DModel"]), "Flux"),
        (changed(directory, tmp_path / "b", unet, cross_attention_dim=48), "cannot open"),
        (changed(directory, tmp_path / "c", "scheduler/scheduler_config.json", prediction_type="sample"), "predicts"),
        ("owner/name", "the hub did not give owner/name"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            open_base(BaseModel(source=source), bundle=NOWHERE)
        assert "\n" not in str(raised.value)


def test_what_cannot_be_an_encoder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.pt").write_bytes(b"no torch file")
    for source, message in (
        (str(tmp_path / "empty"), "no config.json"),
        (str(tmp_path / "file.pt"), "torch file"),
        (str(tmp_path / "gone"), "no file or directory"),
        ("random:huge", "transface-s"),
    ):
        with pytest.raises(UserError, match=message):
            open_encoder(source, bundle=NOWHERE)
