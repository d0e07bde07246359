"""The loss with the own, another, and no face: of whom, with which noise, and what the figures say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parts import fact_stage

from facefact.train.adapter.condition_loss import CONDITIONS, HeldOut, condition_losses, target_and_own
from facefact.train.adapter.validation import condition_figures
from facefact.train.material.encode import encode_text
from facefact.train.settings import Loss
from facefact.types import UserError


@pytest.fixture
def stage(parts):
    made = fact_stage(parts, Loss(), gate=0.5)
    yield made
    made.adapter.detach()


def test_the_same_every_time_and_nothing_is_left_behind(cache, stage) -> None:
    held_out = HeldOut.of(cache)
    modes = [one.training for one in stage.modules()]
    first = condition_losses(stage, held_out, (100, 700), seed=3)
    again = condition_losses(stage, held_out, (100, 700), seed=3, at_once=2)
    for name, values in first.items():
        np.testing.assert_allclose(values, again[name], rtol=1e-4, atol=1e-6)
        assert values.shape == (5,)
    assert [one.training for one in stage.modules()] == modes
    assert not np.allclose(first["own"], condition_losses(stage, held_out, (100, 700), seed=4)["own"])


def test_an_adapter_that_learns_a_person_by_heart_has_the_gap(cache, stage) -> None:
    """A few steps on the very pictures, with their own face: own falls below other and null, which a gap above 0
    says; before them there is none."""
    held_out = HeldOut.of(cache)
    before = condition_figures(condition_losses(stage, held_out, (500,)))
    optimizer = torch.optim.AdamW(stage.adapter.trainable_parameters(), lr=3e-3)
    batch = {**held_out.batch, "tokens": held_out.own, "face_dropped": torch.zeros(5, dtype=torch.bool)}
    noise = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(0))
    at = torch.full((5,), 500)
    sample = stage.scheduler.add_noise(batch["latents"], noise, at)
    from facefact.train.adapter.face_tokens import face_tokens

    for _ in range(60):
        condition = stage.adapter.condition(face_tokens(stage.adapter, batch["tokens"]), guidance=False)
        loss = (stage.predict(sample, at, batch, condition) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = condition_figures(condition_losses(stage, held_out, (500,)))
    assert after["loss_own"] < before["loss_own"]
    assert after["gap_null"] > max(0.0, 2 * before["gap_null"])
    assert after["gap_other"] > max(0.0, 2 * before["gap_other"])
    assert after["loss_base"] == before["loss_base"]


def test_so_many_people_and_no_more(cache) -> None:
    assert len(HeldOut.of(cache, people=3)) == 3
    assert len(HeldOut.of(cache, people=64)) == 5
    with pytest.raises(UserError, match="at least two held-out people"):
        HeldOut.of(cache, people=1)


def test_a_cache_without_text_has_its_captions_read(cache, parts) -> None:
    encoded = HeldOut.of(cache, encode=lambda captions: {"text": encode_text(parts, captions)[0]})
    torch.testing.assert_close(encoded.batch["text"], HeldOut.of(cache).batch["text"], atol=2e-3, rtol=2e-3)


def test_targets_share_the_commonest_shape(cache) -> None:
    mixed = cache.take(np.arange(len(cache)))
    mixed.shapes = mixed.shapes.copy()
    first = target_and_own(cache)[:, 0]
    mixed.shapes[first] = [48, 80]
    mixed.shapes[mixed.persons == mixed.persons[0]] = [48, 80]  # nobody of the first person has the common shape
    pairs = target_and_own(mixed)
    assert len(pairs) == len(first) - 1
    assert (mixed.shapes[pairs[:, 0]] == 64).all()
    assert (mixed.persons[pairs[:, 0]] == mixed.persons[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()


def test_the_figures_are_means_over_those_with_a_face() -> None:
    table = {name: np.array([1.0, 3.0, np.nan]) + i for i, name in enumerate(CONDITIONS)}
    table["other"][0] = 0.5
    figures = condition_figures(table)
    assert figures["loss_own"] == 2.0
    assert figures["gap_other"] == pytest.approx((0.5 + 4.0) / 2 - 2.0)
    assert figures["gap_null"] == 2.0
    assert figures["own_is_better"] == 0.5
    assert figures["loss_people"] == 2
    assert condition_figures({name: np.array([np.nan]) for name in CONDITIONS}) == {}
