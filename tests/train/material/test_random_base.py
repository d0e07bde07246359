"""Random weights: of the published sizes, always the same, told apart by their hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from facefact.train.material.base import open_frozen
from facefact.train.material.frozen import Frozen
from facefact.train.material.random_base import SHAPES, byte_tokenizer, empty_parts
from facefact.train.settings import BaseModel, NewAdapter

NOWHERE = Path("/nowhere")


def opened(name: str, dtype: Any = "fp32") -> Frozen:
    settings = BaseModel(source=f"random:{name}", dtype=dtype)
    return open_frozen(settings, NewAdapter(encoder="random:tiny"), bundle=NOWHERE)


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
