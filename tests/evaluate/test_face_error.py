"""The face's distance to the true one, on renders whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.demo import bundle_path, judges_path
from facefact.evaluate.face_error import MOST, face_errors, other_errors
from facefact.evaluate.judges import Judges
from facefact.evaluate.layers import inside_share
from facefact.evaluate.protocol import protocol
from facefact.world import look, render

PLAN = protocol(3, people=12, per_person=1)


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges.open(judges_path(), bundle_path())


def errors(pictures: list[np.ndarray], judges: Judges) -> np.ndarray:
    return face_errors(np.stack(pictures), PLAN.cases, PLAN.people, judges)


def test_the_true_face_is_nearest_and_what_no_word_says_costs_little(judges: Judges) -> None:
    true = [render(PLAN.people[case.own], case.wanted).image for case in PLAN.cases]
    varied = [render(PLAN.people[c.own], look(c.wanted.variation + 1, **c.wanted.choices)).image for c in PLAN.cases]
    apart = other_errors(PLAN.cases, PLAN.people)
    assert errors(true, judges).mean() < 0.45 * apart.mean()
    assert errors(varied, judges).mean() < 0.55 * apart.mean()


def test_another_face_a_smeared_face_and_no_face_are_far(judges: Judges) -> None:
    true = [render(PLAN.people[case.own], case.wanted).image for case in PLAN.cases]
    others = [render(PLAN.people[(c.own + 1) % 12], c.wanted).image for c in PLAN.cases]
    apart = other_errors(PLAN.cases, PLAN.people)
    assert errors(others, judges).mean() == pytest.approx(apart.mean(), rel=0.25)
    blots = [np.where(np.indices(picture.shape)[0] > 70, 90, picture).astype(np.uint8) for picture in true]
    assert errors(blots, judges).mean() > errors(true, judges).mean() + 5
    assert (errors([np.full_like(true[0], 90)] * 12, judges) == MOST).all()


def test_the_share_of_a_layer_is_taken_inside_the_face_of_the_half_with_the_face() -> None:
    import torch

    from facefact.adapter import Increment

    faces = np.zeros((1, 8, 8), bool)
    faces[:, :4] = True
    entering = torch.ones(2, 16, 3)
    added = torch.zeros(2, 16, 3)
    added[1, :8] = 0.5  # inside, of the second row
    added[0] = 9.0  # the null face's row
    assert inside_share(Increment("block", entering, added, added), faces) == pytest.approx(0.5)
    assert inside_share(Increment("block", entering, added, added.flip(1) * 0), faces) < 1e-3
