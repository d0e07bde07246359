"""The recognisers: the margin loss written out, crops at the published places, and people who stay held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.encoder.patch_augmentation import PatchAugmentation
from facefact.train.encoder.recogniser import Population, RecogniserLoss, RecogniserStage, pair_batches
from facefact.train.losses.margin import angular_margin_loss, class_margin_loss, with_margin
from facefact.train.material.world import aligned_head, softened
from facefact.world import HELD_OUT, look, person, render, training_seed

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


def test_no_batch_of_any_stage_sees_the_held_out(monkeypatch) -> None:
    """Whatever is drawn for training is drawn from seeds below the border."""
    from facefact.train.bundle import autoencoder, detector, latents, reader
    from facefact.train.encoder import recogniser
    from facefact.train.material import world

    seen: list[int] = []
    for module in (autoencoder, detector, latents, reader, recogniser, world):
        for name, real in (("person", person), ("look", look)):
            monkeypatch.setattr(module, name, lambda seed, real=real: seen.append(seed) or real(seed))
    next(autoencoder.portrait_batches(1, 2, autoencoder.AutoencoderConfig(), 0)(0))
    next(pair_batches(1, 2, aligned_head)(0))
    next(detector.batches(1, 4)(0))
    next(reader.batches(1, 2)(0))
    next(latents.render_pixels(1, 2))
    world.WorldSource(2, 2, 1).sample(3, 128)
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


# The margin over learned centres, and TransFace's additions


def unit(x: torch.Tensor) -> np.ndarray:
    y = x.double().numpy()
    return y / np.linalg.norm(y, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_the_margin_over_learned_centres_is_the_published_one(kind) -> None:
    """-log(e^{s t} / (e^{s t} + sum over the other classes of e^{s cos})), t = cos - m or cos(angle + m)."""
    draw = torch.Generator().manual_seed(0)
    embeddings, centres = torch.randn(6, 5, generator=draw), torch.randn(4, 5, generator=draw)
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    cosine, scale, margin, losses = unit(embeddings) @ unit(centres).T, 12.0, 0.3, []
    for row, label in zip(cosine, labels, strict=True):
        angle = np.arccos(row[label])
        assert angle < np.pi - margin  # (beyond: the next test)
        right = np.exp(scale * (row[label] - margin if kind == "cosface" else np.cos(angle + margin)))
        losses.append(-np.log(right / (right + np.exp(scale * np.delete(row, label)).sum())))
    weights = torch.tensor([1.0, 2.0, 1.0, 1.5, 1.0, 1.0])
    found = class_margin_loss(embeddings, centres, labels, scale=scale, margin=margin, kind=kind)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
    found = class_margin_loss(embeddings, centres, labels, scale=scale, margin=margin, kind=kind, weights=weights)
    assert float(found) == pytest.approx(np.mean(weights.numpy() * losses), rel=1e-5)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_the_margin_makes_the_right_class_harder_at_every_angle(kind) -> None:
    cosine = torch.linspace(-1, 1, 201)[:, None].repeat(1, 2)
    made = with_margin(cosine, torch.zeros(201, dtype=torch.long), 0.4, kind)
    assert torch.equal(made[:, 1], cosine[:, 1])
    assert (made[:, 0] < cosine[:, 0]).all()
    assert (made[:, 0].diff() > 0).all()  # and a smaller angle is always better
    assert torch.equal(with_margin(cosine, torch.zeros(201, dtype=torch.long), 0.0), cosine)


def test_the_defaults_are_the_bundles() -> None:
    """The value that the bundle's stages had before there were settings."""
    torch.manual_seed(0)
    stage = RecogniserStage(TransFace(TINY))
    assert set(stage.state_dict()) - {f"recogniser.{n}" for n in stage.recogniser.state_dict()} == {
        "factors.weight",
        "factors.bias",
    }
    terms = stage(next(pair_batches(3, 3, aligned_head)(0)))
    assert set(terms) == {"loss", "margin", "factors"}
    assert terms["loss"].item() == pytest.approx(19.060604, rel=1e-4)


def finite(loss: RecogniserLoss, seed: int = 0) -> tuple[RecogniserStage, dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    population = Population(people=5, looks=3, seed=2)
    batch = next(pair_batches(3, 4, aligned_head, population=population)(0))
    return RecogniserStage(TransFace(TINY), loss), batch


def test_a_finite_population_is_one_of_people_and_looks_that_come_again() -> None:
    population = Population(people=5, looks=3, seed=2)
    batches = pair_batches(3, 4, aligned_head, population=population)(0)
    whole = [next(batches) for _ in range(6)]
    for batch in whole:
        assert len(set(batch["labels"].tolist())) == 4
        wanted = np.stack([population.person(label).factors for label in batch["labels"].tolist()])
        np.testing.assert_allclose(batch["factors"].numpy(), wanted, rtol=1e-6)
    assert {label for batch in whole for label in batch["labels"].tolist()} == set(range(5))
    assert population.look(1, 2) == population.look(1, 2) != population.look(1, 1)
    pairs = [population.pair(1, np.random.default_rng(i)) for i in range(20)]
    assert all(first != second for first, second in pairs)
    assert len({one.variation for pair in pairs for one in pair}) == 3
    assert max(population.person(i).seed for i in range(5)) < HELD_OUT


def test_the_published_way_learns_centres_and_no_factors() -> None:
    stage, batch = finite(RecogniserLoss(classes=5, factor_weight=0, kind="arcface", margin=0.5, scale=64))
    terms = stage(batch)
    assert set(terms) == {"loss", "margin"}
    terms["loss"].backward()
    assert stage.class_embeddings.grad.abs().sum() > 0
    assert {name for name, p in stage.named_parameters() if p.grad is None} == {"recogniser.mask_token"}


def test_hard_samples_change_the_weights_of_the_pictures_only() -> None:
    stage, batch = finite(RecogniserLoss(hard_samples=True))
    terms = stage(batch)
    plain = RecogniserStage(stage.recogniser)
    plain.factors = stage.factors
    without = plain(batch)
    assert terms["weight"].item() > 1
    torch.testing.assert_close(terms["factors"], without["factors"])
    assert without["margin"].item() < terms["margin"].item() < 3 * without["margin"].item()


def test_pictures_are_perturbed_in_training_only_and_as_often_as_asked() -> None:
    stage, batch = finite(RecogniserLoss(patch_augmentation=PatchAugmentation(0.25, 0.2)))
    pixels = batch["pixels"].repeat(50, 1, 1, 1)
    made = stage.augmented(pixels)
    share = (made != pixels).flatten(1).any(1).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.07)
    changed = (made != pixels).any(1).flatten(1).float().mean(1).max()
    assert float(changed) <= 3 / 16 + 1e-6  # 0.2 of 16 patches
    assert torch.equal(stage.eval().augmented(pixels), pixels)


def test_dpap_alone_leaves_the_batch_norm_alone() -> None:
    """The pass that looks for the dominant patches must not count in the statistics of the head."""
    stage, batch = finite(RecogniserLoss(patch_augmentation=PatchAugmentation(1.0)))
    before = {name: value.clone() for name, value in stage.named_buffers()}
    stage.augmented(batch["pixels"])
    assert all(torch.equal(value, before[name]) for name, value in stage.named_buffers())
