"""The decisions on the whole set: on made-up embeddings, where it is known who everybody is."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from facefact.data import recognisers
from facefact.data.people import check_people, decide, split, unlike
from facefact.data.prepare_config import DuplicateSettings, PeopleSettings
from facefact.data.records import Brief, Verdict
from facefact.types import UserError

NEAR, FAR = 0.5, 0.7  # pictures of one person are about 0.3 apart, different people 1.4
PLAIN = PeopleSettings(validation=0)


def faces(who: int, number: int, *, seed: int = 0) -> np.ndarray:
    """(number, 64) unit vectors of one person."""
    rng = np.random.default_rng((seed, who))
    vectors = np.eye(64)[who] + 0.028 * rng.normal(size=(number, 64))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def briefs(prefix: str, embeddings: np.ndarray, person: str | None = None) -> list[Brief]:
    """Different pictures: their fingerprints are far apart."""
    rng = np.random.default_rng(list(prefix.encode()))
    return [
        Brief(f"{prefix}{i}", person, f"{prefix}{i}", int(rng.integers(2**63)), 0.5, one)
        for i, one in enumerate(embeddings)
    ]


def judged(them: list[Brief], settings: PeopleSettings = PLAIN, looks: int | None = 4) -> Verdict:
    return decide(them, settings, DuplicateSettings(looks), outlier=FAR, cluster=NEAR)


def why(verdict: Verdict) -> dict[str, tuple[str, str]]:
    return {sample: (unfit.stage, unfit.reason) for sample, unfit in verdict.unfit.items()}


# Duplicates


def test_the_best_of_duplicates_stays_and_is_named() -> None:
    a, b, c, d = briefs("a", faces(0, 4), "Ann")
    b = replace(b, sha256=a.sha256, perceptual_hash=a.perceptual_hash, quality=0.9, name="ann/b.jpg")
    c = replace(c, perceptual_hash=a.perceptual_hash ^ 0b11)
    verdict = judged([a, b, c, d])
    assert why(verdict) == {"a0": ("duplicates", "same file"), "a2": ("duplicates", "looks alike")}
    assert "ann/b.jpg stays" in verdict.unfit["a2"].detail
    assert set(verdict.person) == {"a1", "a3"}
    assert why(judged([a, b, c, d], looks=None)) == {"a0": ("duplicates", "same file")}


def test_of_duplicates_the_one_with_a_person_stays() -> None:
    (named,), (nameless,) = briefs("a", faces(0, 1), "Ann"), briefs("b", faces(0, 1))
    verdict = judged([named, replace(nameless, sha256=named.sha256, quality=0.9)])
    assert verdict.person == {"a0": "Ann"}


def test_faces_of_one_picture_are_no_duplicates_and_go_together() -> None:
    one, other = briefs("a", np.concatenate([faces(0, 1), faces(1, 1)]))
    first = [replace(face, sha256="x", perceptual_hash=7, name="a.jpg", quality=0.9) for face in (one, other)]
    again = [replace(face, sample=f"z{face.sample}", name="copy.jpg", quality=0.5) for face in first]
    assert judged(first).unfit == {}
    verdict = judged([*first, *again])
    assert why(verdict) == dict.fromkeys(("za0", "za1"), ("duplicates", "same file"))
    assert len(set(verdict.person.values())) == 2


# Outliers


def test_a_stranger_in_a_folder_is_unfit_or_flagged() -> None:
    them = briefs("a", faces(0, 4), "Ann") + briefs("b", faces(1, 1), "Ann") + briefs("c", faces(1, 4), "Bob")
    verdict = judged(them)
    assert why(verdict) == {"b0": ("person", "not the same person")}
    assert "Ann" in verdict.unfit["b0"].detail
    assert "1.4" in verdict.unfit["b0"].detail
    kept = judged(them, replace(PLAIN, outliers="keep"))
    assert kept.unfit == {}
    assert kept.outliers == {"b0"}
    assert kept.person["b0"] == "Ann"


@pytest.mark.parametrize(("own", "others"), [(2, 1), (5, 4), (12, 11)])
def test_the_larger_group_stays_though_nearly_half_is_somebody_else(own: int, others: int) -> None:
    strange = unlike(np.concatenate([faces(1, others), faces(0, own)]), FAR)
    np.testing.assert_array_equal(strange > 0, np.arange(own + others) < others)
    np.testing.assert_allclose(strange[:others], 2**0.5, atol=0.1)


def test_of_equal_groups_the_closer_stays() -> None:
    loose = faces(0, 3) + 0.1 * np.random.default_rng(0).normal(size=(3, 64))
    loose = loose / np.linalg.norm(loose, axis=1, keepdims=True)
    for order in (np.arange(6), np.arange(6)[::-1]):
        strange = unlike(np.concatenate([loose, faces(1, 3)])[order].astype(np.float32), 1.2)
        np.testing.assert_array_equal(strange[order] > 0, [True] * 3 + [False] * 3)


def test_two_that_disagree_are_flagged_and_three_that_do_not_agree_at_all_unfit() -> None:
    apart = np.concatenate([faces(i, 1) for i in range(3)])
    two = judged(briefs("a", apart[:2], "Ann"))
    assert two.unfit == {}
    assert two.outliers == {"a0", "a1"}
    assert set(judged(briefs("a", apart, "Ann")).unfit) == {"a0", "a1", "a2"}
    assert judged(briefs("a", apart[:1], "Ann")).outliers == frozenset()


def test_a_picture_near_enough_to_its_person_stays_whatever_it_is_grouped_with() -> None:
    angle = np.radians([0, 5, 10, 15, 62, 97])  # 62 degrees are nearer to 97, and yet near enough to the first four
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    apart = unlike(vectors, 2 * np.sin(np.radians(58 / 2)))
    np.testing.assert_array_equal(apart > 0, [False] * 5 + [True])


# People without names


def test_nameless_pictures_become_people_and_avoid_given_names() -> None:
    named = briefs("n", faces(0, 3), "person-00002")
    nameless = briefs("a", faces(1, 2)) + briefs("b", faces(2, 4)) + briefs("c", faces(3, 1)) + briefs("d", faces(0, 1))
    person = judged(named + nameless).person
    assert {person[f"b{i}"] for i in range(4)} == {"person-00001"}  # the one with most pictures
    assert {person[f"a{i}"] for i in range(2)} == {"person-00003"}
    assert (person["c0"], person["d0"]) == ("person-00004", "person-00005")
    assert {person[f"n{i}"] for i in range(3)} == {"person-00002"}  # d0 is the same, but labels do not mix


def test_without_comparison_each_nameless_picture_is_its_own_person(caplog: pytest.LogCaptureFixture) -> None:
    them = [replace(brief, embedding=None) for brief in briefs("a", faces(0, 3)) + briefs("b", faces(0, 3), "Ann")]
    with caplog.at_level(logging.WARNING):
        verdict = decide(them, PLAIN, DuplicateSettings())
    assert len(caplog.records) == 1
    assert len({verdict.person[f"a{i}"] for i in range(3)}) == 3
    assert {verdict.person[f"b{i}"] for i in range(3)} == {"Ann"}


def test_the_settings_distances_go_before_the_recognisers() -> None:
    them = briefs("a", np.concatenate([faces(0, 1), faces(1, 1)])) + briefs("b", np.eye(64)[[2, 3, 4]], "Ann")
    assert len(set(judged(them).person.values())) == 2  # all of Ann is unfit
    verdict = judged(them, replace(PLAIN, cluster=2.0, outlier=2.0))
    assert verdict.person["a0"] == verdict.person["a1"]
    assert verdict.unfit == {}


def test_people_with_too_few_pictures_are_left_out() -> None:
    them = briefs("a", faces(0, 3), "Ann") + briefs("b", faces(1, 2), "Bob") + briefs("c", faces(2, 1))
    them += briefs("d", faces(3, 1), "Ann")  # a stranger does not count
    verdict = judged(them, replace(PLAIN, min_pictures=3))
    few = ("person", "too few pictures")
    assert why(verdict) == {"b0": few, "b1": few, "c0": few, "d0": ("person", "not the same person")}
    assert "Bob has 2" in verdict.unfit["b0"].detail
    assert set(verdict.split) == {"Ann"}


# The split, and everything together


def test_the_split_is_by_person_and_moves_few_when_people_come() -> None:
    people = {f"p{i}": f"p{i}" for i in range(200)}
    before = split(people, share=0.1, seed=0)
    assert sum(side == "validation" for side in before.values()) == 20
    assert before != split(people, share=0.1, seed=1)
    after = split(people | {f"q{i}": f"q{i}" for i in range(20)}, share=0.1, seed=0)
    assert sum(side == "validation" for side in after.values()) == 22
    assert sum(before[name] != after[name] for name in people) <= 4


@pytest.mark.parametrize(
    ("people", "share", "apart"), [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (9, 0.0, 0), (0, 0.5, 0)]
)
def test_a_split_has_both_sides_where_it_can(people: int, share: float, apart: int) -> None:
    sides = split({str(i): str(i) for i in range(people)}, share=share, seed=3)
    assert sum(side == "validation" for side in sides.values()) == apart
    assert len(sides) == people


def test_found_people_keep_their_side_when_numbers_change() -> None:
    them = [brief for who in range(20) for brief in briefs(f"{who:02d}-", faces(who, 2))]
    settings = PeopleSettings(validation=0.5)
    first = judged(them, settings)
    second = judged(them + briefs("new", faces(30, 5)), settings)
    sides = [{s: v.split[p] for s, p in v.person.items()} for v in (first, second)]
    assert first.person["00-0"] != second.person["00-0"]  # the new one is the first now
    assert sum(sides[0][sample] != sides[1][sample] for sample in sides[0]) <= 2 * 2


def test_the_verdict_does_not_depend_on_the_order_and_accounts_for_everything() -> None:
    rng = np.random.default_rng(0)
    them = [brief for who in range(12) for brief in briefs(f"{who}-", faces(who, int(rng.integers(1, 6))), f"P{who}")]
    them += [brief for who in range(12, 24) for brief in briefs(f"{who}-", faces(who, int(rng.integers(1, 6))))]
    them += [replace(brief, sample=f"copy {brief.sample}", quality=0.5) for brief in them[::7]]
    them += briefs("odd", faces(40, 3), "P3")
    settings = PeopleSettings(min_pictures=2, validation=0.2)
    verdict = judged(them, settings)
    for _ in range(3):
        again = judged([them[i] for i in rng.permutation(len(them))], settings)
        assert (again.person, again.split, again.outliers) == (verdict.person, verdict.split, verdict.outliers)
        assert {k: str(v) for k, v in again.unfit.items()} == {k: str(v) for k, v in verdict.unfit.items()}
    assert sorted([*verdict.person, *verdict.unfit]) == sorted(brief.sample for brief in them)
    assert set(verdict.split) == set(verdict.person.values())


def test_nothing_gives_nothing() -> None:
    assert judged([]) == Verdict({}, {}, {})


# Before the work


def test_nameless_pictures_need_a_recogniser_and_the_line_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognisers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"folder for each person.*pip install dlib-bin"):
        check_people(PeopleSettings(), labelled=False)
    check_people(PeopleSettings(), labelled=True)
    check_people(PeopleSettings(recogniser="none"), labelled=False)


@pytest.mark.parametrize(
    "wrong",
    [{"outlier": -0.1}, {"cluster": 2.1}, {"validation": 1.0}, {"validation": -0.5}, {"min_pictures": 0}],
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"people.{next(iter(wrong))}"):
        check_people(PeopleSettings(**wrong), labelled=True)  # type: ignore[arg-type]
