"""The base model's parts: one token for each word, noise levels spread as said, v-prediction at zero terminal SNR."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from facefact.train.base_model import BaseConfig, learn_merges, new_scheduler, new_tokenizer, noisy, spread_timesteps
from facefact.world import HELD_OUT, caption, corpus, look


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(BaseConfig())


def test_every_word_of_the_world_is_one_token(tokenizer) -> None:
    words = {word for line in corpus() for word in line.replace(",", " ").replace("-", " ").split()}
    for word in words:
        assert len(tokenizer(word).input_ids) == 3, word  # start, the word, end


def test_captions_fit(tokenizer) -> None:
    """One in hundreds has one token too many: it loses the last word of "warm light", and is still like no other."""
    captions = sorted({caption(look(seed)) for seed in range(1000)})
    longest = BaseConfig().text_length
    lengths = np.array([len(tokenizer(words).input_ids) for words in captions])
    assert (lengths > longest).mean() < 0.01
    assert lengths.max() <= longest + 1
    read = {tuple(tokenizer(words, truncation=True, max_length=longest).input_ids) for words in captions}
    assert len(read) == len(captions)


def test_any_text_survives(tokenizer) -> None:
    for text in ("an astronaut, riding; a horse!", "garçon à l'école", "日本"):
        back = tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)
        assert back.replace(" ", "") == text.replace(" ", "")


def test_merges_are_byte_pair_encoding() -> None:
    """The example of Sennrich et al. 2016, table 1: low, lowest, newer, wider."""
    words = Counter({"low": 5, "lowest": 2, "newer": 6, "wider": 3})
    merges = learn_merges(words, sorted("deilnorstw"))
    assert merges[:3] == [("e", "r</w>"), ("l", "o"), ("e", "w")]  # 9, 7, 6 (and "e" is older than "n")
    whole = {a + b for a, b in merges}
    assert {word + "</w>" for word in words} <= whole
    assert learn_merges(Counter({"rare": 1}), "aer") == []


def test_the_tokenizer_is_the_same_every_time_and_comes_back_from_disk(tokenizer, tmp_path) -> None:
    from transformers import CLIPTokenizer

    tokenizer.save_pretrained(tmp_path)
    words = caption(look(HELD_OUT + 3))
    ids = tokenizer(words, padding="max_length", truncation=True).input_ids
    for other in (new_tokenizer(BaseConfig()), CLIPTokenizer.from_pretrained(tmp_path)):
        assert other(words, padding="max_length", truncation=True).input_ids == ids
    assert len(ids) == 40


def density(t: np.ndarray, middle: float) -> np.ndarray:
    """dt of u -> t = u + m sin(2 pi u) / (2 pi) is 1 + m cos(2 pi u); its cumulative function, by inversion."""
    u = np.linspace(0, 1, 100_001)
    return np.interp(t, u + middle * np.sin(2 * np.pi * u) / (2 * np.pi), u)


@pytest.mark.parametrize("middle", [0.0, 0.5])
def test_timesteps_fall_one_in_each_stratum(middle) -> None:
    torch.manual_seed(0)
    n = 32
    for _ in range(50):
        t = spread_timesteps(n, torch.device("cpu"), middle=middle).numpy()
        assert t.min() >= 0
        assert t.max() <= 999
        stratum = density((t + 0.5) / 1000, middle) * n
        assert np.abs(stratum - (np.arange(n) + 0.5)).max() < 0.5 + 0.5 * n / 1000 * 2.5


def test_the_middle_is_drawn_more_often_as_said() -> None:
    torch.manual_seed(0)
    t = torch.cat([spread_timesteps(64, torch.device("cpu")) for _ in range(500)]).numpy() / 1000
    for a, b in ((0.0, 0.1), (0.2, 0.4), (0.45, 0.55), (0.9, 1.0)):
        wanted = density(np.array([b]), 0.5) - density(np.array([a]), 0.5)
        assert ((t >= a) & (t < b)).mean() == pytest.approx(float(wanted[0]), abs=0.004)
    assert ((t > 0.49) & (t < 0.51)).mean() / 0.02 == pytest.approx(2.0, rel=0.1)  # 1 / (1 - m)


def test_the_velocity_and_the_end_of_the_schedule() -> None:
    """v = sqrt(a) noise - sqrt(1 - a) x; at the last step nothing of the picture is left and v = -x."""
    scheduler = new_scheduler()
    torch.manual_seed(0)
    x = torch.randn(3, 4, 8, 8)
    timesteps = torch.tensor([0, 500, 999])
    sample, velocity = noisy(scheduler, x, timesteps)
    a = scheduler.alphas_cumprod[timesteps][:, None, None, None]
    noise = (sample - a.sqrt() * x) / (1 - a).sqrt()
    torch.testing.assert_close(velocity, a.sqrt() * noise - (1 - a).sqrt() * x, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(velocity[2], -x[2], atol=1e-5, rtol=0)
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0, abs=1e-7)
