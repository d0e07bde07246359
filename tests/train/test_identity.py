"""What is learned before the diffusion: pairs of one person, centres, and that both networks learn to recognise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parts import RESAMPLER, filled, frozen

from facefact.encoder import Resampler
from facefact.train.identity import (
    LatentRecogniser,
    LatentRecogniserConfig,
    LatentRecogniserStage,
    ResamplerStage,
    by_person,
    pair_batches,
    person_centres,
)
from facefact.types import UserError

TINY = LatentRecogniserConfig(channels=4, size=8, widths=(8, 16), embedding=8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("cache"), frozen(), people=6)


def test_pairs_are_two_pictures_of_one_person(cache) -> None:
    rows = {cache.tokens_of(np.array([i])).numpy().tobytes(): i for i in range(len(cache))}
    given = next(pair_batches(cache, people=4, seed=1, part="tokens")(0))["x"]
    index = np.array([rows[one[None].numpy().tobytes()] for one in given])
    assert np.array_equal(cache.persons[index[:4]], cache.persons[index[4:]])
    assert not (index[:4] == index[4:]).any()
    assert len(set(cache.persons[index[:4]])) == 4


def test_people_with_one_picture_are_no_pairs(cache) -> None:
    single = cache.take(np.array([rows[0] for rows in by_person(cache)]))
    with pytest.raises(UserError, match="two people with two pictures"):
        pair_batches(single, people=4, seed=1, part="tokens")


def test_centres_are_mean_directions(cache) -> None:
    torch.manual_seed(0)
    recogniser = LatentRecogniser(TINY)
    centres = person_centres(recogniser, cache, batch=5)
    assert centres.shape == (6, 8)
    for number, rows in enumerate(by_person(cache)):
        with torch.no_grad():
            mean = F.normalize(recogniser(cache.gather(rows)["latents"]), dim=-1).mean(0)
        torch.testing.assert_close(centres[number], F.normalize(mean, dim=-1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("part", ["tokens", "latents"])
def test_recognition_is_learned(cache, part) -> None:
    torch.manual_seed(0)
    stage = (
        ResamplerStage(Resampler(RESAMPLER), embedding=16)
        if part == "tokens"
        else (LatentRecogniserStage(LatentRecogniser(TINY), noise=0.0))
    )
    stream = pair_batches(cache, people=6, seed=1, part=part)(0)
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = stage(next(stream))["loss"]
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
