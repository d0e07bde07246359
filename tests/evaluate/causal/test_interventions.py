"""One factor changes, and nothing else."""

from __future__ import annotations

import numpy as np

from facefact.evaluate.causal.interventions import FACTORS, HIDING, STEP, bare_look, interventions, subjects
from facefact.world import CHOICES, HELD_OUT, IDENTITY, render

WHO = subjects(4, 12)


def test_every_factor_is_changed_once_and_alone() -> None:
    for subject in WHO:
        changes = interventions(subject, seed=4)
        assert [one.factor for one in changes] == list(FACTORS)
        for one in changes:
            moved = np.flatnonzero(one.who.factors != subject.who.factors)
            chosen = [name for name in CHOICES if one.reference[name] != subject.reference[name]]
            wanted = [name for name in CHOICES if one.wanted[name] != subject.wanted[name]]
            if one.factor in IDENTITY:
                assert [IDENTITY[i] for i in moved] == [one.factor]
                assert chosen == wanted == []
                step = one.who[one.factor] - subject.who[one.factor]
                assert step == one.direction * STEP
                assert abs(one.who[one.factor]) <= 1, "within what the world draws"
            else:
                assert not len(moved)
                assert chosen == wanted == [one.factor]
                assert one.reference[one.factor] == one.wanted[one.factor] == one.value
                assert one.value not in HIDING.get(one.factor, ())


def test_what_is_changed_shows_in_the_reference() -> None:
    subject = WHO[0]
    before = render(subject.who, subject.reference).image
    for one in interventions(subject, seed=4):
        assert (render(one.who, one.reference).image != before).any(), one.factor


def test_subjects_are_held_out_and_others_for_another_seed() -> None:
    assert all(one.who.seed >= HELD_OUT for one in WHO)
    assert not {one.who.seed for one in WHO} & {one.who.seed for one in subjects(5, 12)}
    assert [one.who.seed for one in subjects(4, 12)] == [one.who.seed for one in WHO]


def test_faces_are_bare() -> None:
    for seed in range(200):
        shown = bare_look(seed)
        assert (shown["pose"], shown["glasses"], shown["hat"]) == ("front", "none", "none")
        assert shown["hair"] != "bald"
        assert abs(shown.yaw) <= 5


def test_a_turned_head_is_turned() -> None:
    turned = [one for subject in WHO for one in interventions(subject, seed=4) if one.factor == "pose"]
    assert {one.value for one in turned} == {"left", "right"}
    assert all(np.sign(one.reference.yaw) == (1 if one.value == "right" else -1) for one in turned)
