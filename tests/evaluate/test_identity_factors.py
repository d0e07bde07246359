"""Identity factors read back from renders of people whom the reader has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.demo import bundle_path, judges_path
from facefact.evaluate.identity_factors import GROUPS, MOST, FactorReader, KernelRidge
from facefact.evaluate.judges import Judges
from facefact.evaluate.protocol import protocol
from facefact.world import IDENTITY, Person, render

PLAN = protocol(3, people=40, per_person=1)


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges.open(judges_path(), bundle_path())


@pytest.fixture(scope="module")
def reader(judges: Judges) -> FactorReader:
    return FactorReader.fit(judges)


def errors(reader: FactorReader, judges: Judges, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    views = np.stack([judges.view(picture) for picture in pictures])
    return reader.errors(views, judges.embed_views(views), PLAN.cases, PLAN.people)


def test_who_a_render_shows_is_read_and_another_person_is_far(reader: FactorReader, judges: Judges) -> None:
    """Whoever knows nothing errs by 0.5 on average, for the factors are uniform in [-1, 1]."""
    true = errors(reader, judges, [render(PLAN.people[case.own], case.wanted).image for case in PLAN.cases])
    others = [render(PLAN.people[(case.own + 1) % 40], case.wanted).image for case in PLAN.cases]
    wrong = errors(reader, judges, others)
    for name, most in (("skin", 0.12), ("eye_colour", 0.25), ("shape", 0.33)):
        assert np.nanmean(true[name]) < most
        assert np.nanmean(wrong[name]) > 1.5 * np.nanmean(true[name]), name
    assert np.nanmean(wrong["skin"]) > 4 * np.nanmean(true["skin"])


def test_only_what_is_wrong_is_seen_as_wrong(reader: FactorReader, judges: Judges) -> None:
    """The same people with the skin tone of others: the skin is far off, eyes and shape hardly more than before."""
    was = errors(reader, judges, [render(PLAN.people[case.own], case.wanted).image for case in PLAN.cases])
    now = errors(reader, judges, [render(other_skin(PLAN.people[case.own]), case.wanted).image for case in PLAN.cases])
    assert np.nanmean(now["skin"]) > 3 * np.nanmean(was["skin"])
    assert np.nanmean(now["eye_colour"]) < 1.5 * np.nanmean(was["eye_colour"])
    assert np.nanmean(now["shape"]) < 1.5 * np.nanmean(was["shape"])


def other_skin(who: Person) -> Person:
    factors = who.factors.copy()
    tone = IDENTITY.index("skin_tone")
    factors[tone] -= np.copysign(1.0, factors[tone])
    return Person(who.seed, factors)


def test_hidden_eyes_count_nothing_and_no_face_counts_most(reader: FactorReader, judges: Judges) -> None:
    nothing = errors(reader, judges, [np.full((128, 128, 3), 90, np.uint8)] * 40)
    hidden = np.array([case.wanted["glasses"] == "sun" for case in PLAN.cases])
    assert hidden.any()
    np.testing.assert_array_equal(np.isnan(nothing["eye_colour"]), hidden)
    assert all((nothing[name][~hidden] == MOST).all() for name in GROUPS)


def test_the_regression_follows_a_curve_and_says_the_mean_far_away() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.uniform(-1, 1, (400, 2)), rng.uniform(-0.9, 0.9, (50, 2))
    answer = lambda at: np.stack([np.sin(2 * at[:, 0]), at[:, 0] * at[:, 1]], 1)  # noqa: E731
    fitted = KernelRidge.fit(x, answer(x), stiffness=1e-3)
    np.testing.assert_allclose(fitted(new), answer(new), atol=0.05)
    np.testing.assert_allclose(fitted(np.full((1, 2), 1e3)), answer(x).mean(0)[None], atol=1e-6)
