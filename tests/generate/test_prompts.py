from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from facefact.generate import Settings, prompts, text_to_image, text_to_images
from tiny import tiny_pipeline

LONG = "x " * 75 + "snow"  # the tiny tokenizer reads letters: 79 of them, and a window has room for 75


@pytest.fixture
def make(pipe: Any, adapter: Any) -> Any:
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))

    def make(prompt: str, negative: str = "") -> np.ndarray:
        settings = Settings(prompt=prompt, negative_prompt=negative, steps=2)
        return np.asarray(text_to_image(pipe, adapter, tokens, settings).image).astype(int)

    return make


def test_pieces_and_their_weights() -> None:
    assert prompts.pieces("a (red coat:1.3), (snow) and (trees:.5)") == [
        ("a ", 1.0),
        ("red coat", 1.3),
        (", (snow) and ", 1.0),
        ("trees", 0.5),
    ]
    assert prompts.pieces(r"a \(red:1.3) x (a:b)") == [(r"a \(red:1.3) x (a:b)", 1.0)]
    assert prompts.pieces("") == []


def test_one_window_of_weight_1_is_what_the_pipeline_reads(pipe: Any) -> None:
    texts = ["a red coat", ""]
    stock, empty = pipe.encode_prompt(texts[0], "cpu", 1, True, negative_prompt="")
    ours, pooled = prompts.encode(pipe, texts)
    assert pooled is None
    torch.testing.assert_close(ours, torch.cat([stock, empty]))
    assert prompts.arguments(pipe, texts[:1], texts[1:]) == {"prompt": texts[:1], "negative_prompt": texts[1:]}


def test_the_end_of_a_long_prompt_counts(pipe: Any, make: Any) -> None:
    assert prompts.windows(pipe, LONG) == 2
    embeddings, _ = prompts.encode(pipe, [LONG, "a"])
    assert embeddings.shape == (2, 2 * 77, 32)
    first, _ = prompts.encode(pipe, ["x " * 75])
    torch.testing.assert_close(embeddings[0, :77], first[0])
    assert (make(LONG) != make(LONG[:-4] + "rain")).any()
    assert (make("a", LONG) != make("a", LONG[:-4] + "rain")).any()


def test_a_weight_changes_its_words(pipe: Any, make: Any) -> None:
    texts = ["a red coat", "a (red:1.5) coat", ""]
    plain, heavy, empty = prompts.encode(pipe, texts)[0]
    torch.testing.assert_close(heavy[2:5], empty[2:5] + 1.5 * (plain[2:5] - empty[2:5]))  # after the start and "a"
    same = [*range(2), *range(5, 77)]
    torch.testing.assert_close(heavy[same], plain[same])
    assert (make("a (red:1.5) coat") != make("a red coat")).any()
    assert (make("a (red:1.0) coat") == make("a red coat")).all()


def test_long_and_short_prompts_do_not_share_a_batch(pipe: Any, adapter: Any, make: Any) -> None:
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    texts = ["a", LONG, "(b:1.2)"]
    settings = [Settings(prompt=text, steps=2) for text in texts]
    for text, portrait in zip(texts, text_to_images(pipe, adapter, tokens, settings, batch=3), strict=True):
        np.testing.assert_allclose(np.asarray(portrait.image), make(text), atol=1)


def test_two_text_encoders() -> None:
    from diffusers import StableDiffusionXLPipeline

    from facefact.train.material.random_base import random_base

    base = random_base("tiny-xl", torch.float32)
    (first, second), (one, two) = base.text_encoders, base.tokenizers
    pipe = StableDiffusionXLPipeline(base.vae, first, second, one, two, base.unet, base.scheduler)
    embeddings, pooled = prompts.encode(pipe, ["a red coat", ""])
    stock, negative, stock_pooled, negative_pooled = pipe.encode_prompt("a red coat", device="cpu", negative_prompt="")
    torch.testing.assert_close(embeddings, torch.cat([stock, negative]))
    torch.testing.assert_close(pooled, torch.cat([stock_pooled, negative_pooled]))
    assert prompts.encode(pipe, [LONG])[0].shape[1] == 2 * 77


def test_what_a_model_cannot_read_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tiny_pipeline()
    monkeypatch.setattr(prompts, "reads_embeddings", lambda pipe: False)
    given = prompts.arguments(pipe, [LONG, "a (red:1.5) x"], ["", ""])
    assert given == {"prompt": [LONG, "a red x"], "negative_prompt": ["", ""]}
    assert caplog.messages == [
        "warning: of this prompt the model does not read: the end, 'snow'",
        "warning: of this prompt the model does not read: weights such as (word:1.3)",
    ]
