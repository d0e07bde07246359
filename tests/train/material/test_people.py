"""The index by person: it finds what a pass over all pictures would find, at a cost that does not grow with them."""

from __future__ import annotations

import time

import numpy as np
import pytest

from facefact.train.material.conditions import choose, others
from facefact.train.material.people import People
from facefact.train.settings import Condition


def crowd(pictures: int, *, people: int, seed: int = 0) -> People:
    """Pictures in no order, of some people more than of others."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.random(pictures).astype(np.float32) for name in ("light", "face_size")}
    yaw = rng.normal(0, 25, pictures).astype(np.float32)
    return People(persons=rng.integers(people, size=pictures), yaw=yaw, **numbers)


def of_counts(*counts: int) -> People:
    """People with so many pictures each, all alike."""
    persons = np.repeat(np.arange(len(counts)), counts)
    return People(persons=persons, **dict.fromkeys(("yaw", "light", "face_size"), np.ones(len(persons), np.float32)))


def test_it_finds_what_a_pass_over_all_pictures_finds() -> None:
    people = crowd(300, people=40)
    for person in range(40):
        assert people.pictures_of(person).tolist() == np.flatnonzero(people.persons == person).tolist()
    assert len(people) == len(np.unique(people.persons))
    assert [rows.tolist() for rows in people.groups()] == [
        np.flatnonzero(people.persons == person).tolist() for person in np.unique(people.persons)
    ]
    for picture in (0, 7, 299):
        same = np.flatnonzero(people.persons == people.persons[picture])
        near = np.abs(people.yaw[same] - people.yaw[picture]) <= 15
        found = others(people, picture, Condition(policy="light"), gap=15)
        assert sorted(found.tolist()) == [row for row in same[near].tolist() if row != picture]
        far = np.abs(people.light[found] - people.light[picture])
        assert (np.diff(far) <= 0).all()


def test_persons_keep_their_numbers_where_some_are_missing() -> None:
    ones = np.ones(4, np.float32)
    people = People(persons=np.array([7, 2, 7, 5]), yaw=ones, light=ones, face_size=ones)
    assert [people.pictures_of(person).tolist() for person in (0, 2, 5, 6, 7)] == [[], [1], [3], [], [0, 2]]
    assert len(people) == 3


def test_much_photographed_people_come_no_more_often_than_others() -> None:
    people = of_counts(900, 1, 2, 4, 1)
    drawn = people.draw(20_000, np.random.default_rng(0))
    shares = np.bincount(people.persons[drawn], minlength=5) / 20_000
    assert np.abs(shares - 0.2).max() < 0.015
    of_the_first = np.bincount(drawn[drawn < 900], minlength=900)
    assert of_the_first.std() < 2 * of_the_first.mean() ** 0.5  # (Poisson's is the root of the mean)
    assert (of_the_first > 0).mean() > 0.95


def test_among_large_faces_it_is_the_same_rule() -> None:
    """One person has a single large face among fifty, one has only large faces, one none."""
    persons = np.repeat([0, 1, 2], [50, 5, 20])
    size = np.concatenate([[0.3], np.full(49, 0.1), np.full(5, 0.4), np.full(20, 0.1)]).astype(np.float32)
    flat = np.zeros(75, np.float32)
    people = People(persons=persons, yaw=flat, light=flat, face_size=size)
    drawn = people.draw(4000, np.random.default_rng(1), least_face=0.3)
    assert set(drawn.tolist()) == {0, *range(50, 55)}
    assert (drawn == 0).mean() == pytest.approx(0.5, abs=0.03)
    everybody = people.persons[people.draw(4000, np.random.default_rng(1))]
    assert np.abs(np.bincount(everybody) / 4000 - 1 / 3).max() < 0.03
    assert people.largest_face == pytest.approx(0.4)
    with pytest.raises(ValueError, match=r"no picture has a face of 0\.50"):
        people.draw(1, np.random.default_rng(0), least_face=0.5)


def test_a_few_pictures_of_many_people() -> None:
    people = of_counts(3, 1, 2)  # rows 0-2, 3, 4-5
    assert people.spread(2).tolist() == [0, 3]
    assert people.spread(5).tolist() == [0, 3, 4, 1, 5]
    assert people.spread(100).tolist() == [0, 3, 4, 1, 5, 2]


def test_a_batch_costs_the_same_among_ten_thousand_pictures_and_among_a_million() -> None:
    """(A pass over all rows for each sample takes thirty times as long; the caches of a processor miss more.)"""
    settings = Condition(shuffle=1.0, pictures=3, face_size=0.2, pose_gap=90.0)
    seconds = {}
    for pictures in (10_000, 1_000_000):
        people, times = crowd(pictures, people=pictures // 4), []
        for number in range(15):
            began = time.perf_counter()
            choose(people, settings, step=0, batch=32, rng=np.random.default_rng(number))
            times.append(time.perf_counter() - began)
        seconds[pictures] = min(times)
    assert seconds[1_000_000] < 6 * seconds[10_000]
