"""The recognisers: the margin loss written out, crops at the published places, and people who stay held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.recogniser import (
    RecogniserStage,
    aligned_head,
    angular_margin_loss,
    pair_batches,
    softened,
    training_seed,
)  # fmt: skip
from facefact.world import HELD_OUT, look, person, render

TINY = TransFaceConfig(patch_size=28, width=16, depth=1, heads=2, embedding_size=8)


@pytest.mark.parametrize(("scale", "margin"), [(24.0, 0.2), (10.0, 0.0)])
def test_the_margin_loss_is_cosface_over_pairs(scale, margin) -> None:
    """-log(e^{s (cos - m)} / (e^{s (cos - m)} + sum over the others of e^{s cos})), the mean over pictures."""
    n = 4
    embeddings = torch.randn(2 * n, 6, generator=torch.Generator().manual_seed(0))
    x = embeddings.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    losses = []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        right = np.exp(scale * (x[i] @ x[partner] - margin))
        others = sum(np.exp(scale * x[i] @ x[j]) for j in range(2 * n) if j not in (i, partner))
        losses.append(-np.log(right / (right + others)))
    assert float(angular_margin_loss(embeddings, scale=scale, margin=margin)) == pytest.approx(
        np.mean(losses), rel=1e-5
    )


def test_the_margin_loss_does_not_depend_on_lengths_and_grows_with_the_margin() -> None:
    embeddings = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(angular_margin_loss(embeddings), angular_margin_loss(7 * embeddings))
    assert angular_margin_loss(embeddings, margin=0.3) > angular_margin_loss(embeddings, margin=0.1)
    pairs = torch.eye(4).repeat(2, 1)  # each person in a direction of its own, twice the same
    assert float(angular_margin_loss(pairs)) < 1e-6


def test_training_never_sees_the_held_out() -> None:
    rng = np.random.default_rng(0)
    seeds = [training_seed(rng) for _ in range(20_000)]
    assert min(seeds) >= 0
    assert max(seeds) < HELD_OUT
    assert max(seeds) > 0.45 * HELD_OUT  # (and the range is used)


def test_no_batch_of_any_stage_sees_the_held_out(monkeypatch) -> None:
    """Whatever is drawn for training is drawn from seeds below the border."""
    from facefact.train import autoencoder, detector, latents, portrait_set, reader, recogniser

    seen: list[int] = []
    for module in (autoencoder, detector, latents, portrait_set, reader, recogniser):
        for name, real in (("person", person), ("look", look)):
            monkeypatch.setattr(module, name, lambda seed, real=real: seen.append(seed) or real(seed))
    next(autoencoder.portrait_batches(1, 2, autoencoder.AutoencoderConfig(), 0)(0))
    next(pair_batches(1, 2, aligned_head)(0))
    next(detector.batches(1, 4)(0))
    next(reader.batches(1, 2)(0))
    next(latents.render_pixels(1, 2))
    monkeypatch.setattr(portrait_set, "PEOPLE_PER_SHARD", 2)
    tiny = autoencoder.new_autoencoder(autoencoder.AutoencoderConfig(widths=(8, 8, 8, 8)))
    portrait_set.render_shard(0, looks=2, seed=1, autoencoder=tiny, encoder=TransFace(TINY).eval())
    assert len(seen) >= 2 * (1 + 2 + 2 + 2 + 2) + 6
    assert max(seen) < HELD_OUT


def test_the_aligned_head_has_the_landmarks_where_arcface_wants_them() -> None:
    from facefact.faces.align import TEMPLATE, align

    drawn = render(person(1), look(2, pose="front"))
    crop, matrix = align(drawn.image * drawn.head[..., None], drawn.landmarks)
    assert np.array_equal(aligned_head(drawn), crop)
    placed = drawn.landmarks @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(placed - TEMPLATE).mean() < 5
    corners = crop[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all() or (corners == 0).mean() > 0.5  # outside the head is black


def test_augmentation_is_a_function_of_its_generator() -> None:
    drawn = render(person(1), look(2))
    a, b = (aligned_head(drawn, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(a, b)
    changed = sum(not np.array_equal(softened(drawn.image, np.random.default_rng(s)), drawn.image) for s in range(200))
    assert changed == pytest.approx(100, abs=25)  # every other one


def test_pairs_are_two_pictures_of_one_person() -> None:
    batch = next(pair_batches(3, 3, aligned_head)(0))
    assert batch["pixels"].shape == (6, 3, 112, 112)
    rng = np.random.default_rng((3, 0, 0))
    wanted = [person(training_seed(rng)).factors for _ in range(3)]
    np.testing.assert_allclose(batch["factors"].numpy(), np.stack(wanted), rtol=1e-6)
    assert not torch.equal(batch["pixels"][:3], batch["pixels"][3:])


def test_the_stage_asks_both_pictures_for_the_same_factors() -> None:
    torch.manual_seed(0)
    stage = RecogniserStage(TransFace(TINY))
    batch = next(pair_batches(3, 3, aligned_head)(0))
    terms = stage(batch)
    torch.testing.assert_close(terms["loss"], terms["margin"] + 4 * terms["factors"])
    stage.train(False)
    with torch.no_grad():
        guess = stage.factors(stage.recogniser.embed(batch["pixels"]))
        error = torch.cat([guess[:3] - batch["factors"], guess[3:] - batch["factors"]]).square().mean()
        torch.testing.assert_close(stage(batch)["factors"], error)
