"""Several faces are found where they stand out, given away from left to right, and followed each for itself."""

from __future__ import annotations

import pytest
import torch
from test_local import SIDE, blob, step
from torch import Tensor

from facefact.adapter import Local
from facefact.adapter.crowd import Crowd, centres_of
from facefact.adapter.local import Tracker


def faces(*places: tuple[float, float]) -> Tensor:
    """Strength of increments: a face of 3 cells' radius at each place (y, x), on a weak ground."""
    return torch.stack([blob(y, x, radius=3.0) for y, x in places]).amax(0)


def middles(masks: tuple[Tensor, ...] | None, picture: int = 0) -> list[tuple[float, float]]:
    """Of each person's mask, in cells."""
    assert masks is not None
    return [tuple(float(v) for v in mask[picture].nonzero().float().mean(0)) for mask in masks]


def near(found: list[tuple[float, float]], places: list[tuple[float, float]], by: float = 1.2) -> None:
    assert len(found) == len(places)
    for one, place in zip(found, places, strict=True):
        assert one == pytest.approx(place, abs=by)


def test_found_from_left_to_right_and_followed() -> None:
    tracker = Tracker.of(Local(looks=2), copies=2, crowd=Crowd(3))
    places = [(20.0, 6.0), (9.0, 16.0), (20.0, 26.0)]
    for timestep in (999, 960):
        step(tracker, timestep, [faces(*places)])
        assert tracker.people() is None, "nobody is found yet"
    step(tracker, 920, [faces(*places)])
    near(middles(tracker.people()), places)
    masks = tracker.people()
    assert masks is not None
    assert torch.equal(torch.stack(masks).sum(0), tracker.region), "each place has one person"
    for i in range(1, 6):  # the second passes over the first, who goes down
        places = [(20.0 + i, 6.0), (9.0, 16.0 - 1.5 * i), (20.0, 26.0)]
        step(tracker, 920 - 40 * i, [faces(*places)])
    near(middles(tracker.people()), places, by=2.0)


def test_each_picture_of_a_batch_has_its_own() -> None:
    tracker = Tracker.of(Local(looks=1), copies=2, crowd=Crowd(2))
    first, second = [(16.0, 7.0), (16.0, 24.0)], [(8.0, 10.0), (24.0, 20.0)]
    for timestep in (999, 960, 920):
        step(tracker, timestep, [faces(*first), faces(*second)])
    near(middles(tracker.people(), 0), first)
    near(middles(tracker.people(), 1), second)


def test_places_that_are_given_say_who_is_who() -> None:
    """The first person's region lies at the right."""
    left, right = torch.zeros(2, SIDE, 2 * SIDE)
    left[:, :SIDE], right[:, SIDE:] = 1, 1
    starts = centres_of((right, left))
    torch.testing.assert_close(starts, torch.tensor([[[0.5, 0.75], [0.5, 0.25]]]))
    tracker = Tracker.of(Local(looks=1), copies=1, crowd=Crowd(2, starts))
    for timestep in (999, 960, 920):
        step(tracker, timestep, [faces((14.0, 7.0), (18.0, 24.0))])
    near(middles(tracker.people()), [(18.0, 24.0), (14.0, 7.0)])


def test_fewer_faces_than_people_are_not_split() -> None:
    crowd = Crowd(2)
    crowd.learn((faces((16.0, 16.0)) - 0.4).clamp(min=0)[None])
    assert crowd.masks(torch.ones(1, SIDE, SIDE)) is None
    crowd.learn((faces((16.0, 7.0), (16.0, 25.0)) - 0.4).clamp(min=0)[None])
    near(middles(crowd.masks(torch.ones(1, SIDE, SIDE))), [(15.5, 7.5), (15.5, 23.5)], by=1.0)
    crowd.begin()
    assert crowd.masks(torch.ones(1, SIDE, SIDE)) is None
