"""Identity asked for directly: pairs of one person, centres, the resampler's warm-up, and whom latents show."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parts import RESAMPLER, filled, frozen

from facefact.encoder import Resampler
from facefact.faces.align import alignment, inverse
from facefact.metrics.views import to_pixels
from facefact.train.adapter.identity import (
    ResamplerStage,
    ShownIdentity,
    aligned,
    pair_batches,
    person_centres,
)
from facefact.train.material.fill import head_mask
from facefact.train.material.world import WorldSource
from facefact.types import UserError


@pytest.fixture(scope="module")
def parts():
    return frozen()


@pytest.fixture(scope="module")
def cache(parts, tmp_path_factory):
    return filled(tmp_path_factory.mktemp("cache"), parts, people=6)


def test_pairs_are_two_pictures_of_one_person(cache) -> None:
    rows = {cache.tokens_of(np.array([i])).numpy().tobytes(): i for i in range(len(cache))}
    given = next(pair_batches(cache, people=4, seed=1)(0))["x"]
    index = np.array([rows[one[None].numpy().tobytes()] for one in given])
    assert np.array_equal(cache.persons[index[:4]], cache.persons[index[4:]])
    assert not (index[:4] == index[4:]).any()
    assert len(set(cache.persons[index[:4]])) == 4


def test_each_process_has_pairs_of_its_own_the_same_every_time(cache) -> None:
    drawn = [next(pair_batches(cache, people=4, seed=1, rank=rank)(2))["x"] for rank in (0, 1, 1)]
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1], drawn[2])


def test_people_with_one_picture_are_no_pairs(cache) -> None:
    single = cache.take(np.array([rows[0] for rows in cache.people.groups()]))
    with pytest.raises(UserError, match="two people with two pictures"):
        pair_batches(single, people=4, seed=1)


def test_centres_are_mean_directions(parts, cache) -> None:
    centres = person_centres(parts.encoder, cache, batch=5)
    assert centres.shape == (6, parts.encoder.config.embedding_size)
    for number, rows in enumerate(cache.people.groups()):
        with torch.no_grad():
            mean = F.normalize(parts.encoder.embed_tokens(cache.tokens_of(rows)), dim=-1).mean(0)
        torch.testing.assert_close(centres[number], F.normalize(mean, dim=-1), atol=1e-5, rtol=1e-4)


def test_heads_are_aligned_as_the_encoder_knows_them() -> None:
    """As OpenCV cuts them, but with gradients; and what a cache keeps of them leads to the same crop."""
    sample = WorldSource(1, 2, 7).sample(1, 128)
    matrix = alignment(sample.landmarks)
    place = torch.from_numpy(inverse(matrix)).float()[None]
    pixels = to_pixels(sample.image)[None].requires_grad_()
    ours = aligned(pixels, place, 112)
    crop = ours.detach()
    theirs = to_pixels(cv2.warpAffine(sample.image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE))
    apart = (crop[0] - theirs).abs()
    assert float(apart.mean()) < 0.006, "OpenCV rounds places to 1/32 of a pixel, and levels to 1/255"
    ours.sum().backward()
    assert float(pixels.grad.abs().sum()) > 0
    outside = sample.head[~head_mask(sample.head)]
    assert not outside.any()


def test_whom_latents_show_is_read_off_their_pixels(parts, cache) -> None:
    given = cache.gather(np.arange(4))
    latents = given["latents"].requires_grad_()
    seen = ShownIdentity(parts.vae, parts.encoder)(latents, given["head_to_picture"], given["head_mask"])
    torch.testing.assert_close(seen.norm(dim=-1), torch.ones(4))
    with torch.no_grad():
        pixels = parts.vae.decode(latents / parts.vae.config.scaling_factor).sample.clamp(-1, 1)
        heads = [
            cv2.warpAffine(
                one.permute(1, 2, 0).numpy(), inverse(place.numpy()), (112, 112), borderMode=cv2.BORDER_REPLICATE
            )
            for one, place in zip(pixels, given["head_to_picture"], strict=True)
        ]
        heads = torch.where(given["head_mask"][:, None], torch.from_numpy(np.stack(heads)).permute(0, 3, 1, 2), -1.0)
        wanted = F.normalize(parts.encoder.embed(heads), dim=-1)
    assert float((seen.detach() * wanted).sum(-1).min()) > 0.999
    seen[:, 0].sum().backward()
    assert float(latents.grad.abs().sum()) > 0
    assert all(p.grad is None for module in (parts.vae, parts.encoder) for p in module.parameters())


def test_recognition_is_learned(cache) -> None:
    torch.manual_seed(0)
    stage = ResamplerStage(Resampler(RESAMPLER), embedding=16)
    stream = pair_batches(cache, people=6, seed=1)(0)
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = stage(next(stream))["loss"]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
