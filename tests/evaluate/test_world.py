"""The figures of `facefact eval world`, on answers whose scores are known."""

import numpy as np
import pytest

from facefact.evaluate.protocol import protocol
from facefact.evaluate.world import LEAKS, as_json, leakage, score_identity, score_prompts
from facefact.world import CHOICES, visible

PLAN = protocol(5, people=30, per_person=4)


def test_a_reader_that_sees_what_was_asked_scores_one() -> None:
    scored = score_prompts([case.wanted.choices for case in PLAN.cases], PLAN)
    assert scored["attributes"].value == 1
    assert scored["scene"].value == 1
    assert scored["attributes"].n == sum(len(visible(case.wanted)) for case in PLAN.cases)


def test_one_wrong_factor_costs_only_itself() -> None:
    other = {value: CHOICES["scene"][i - 1] for i, value in enumerate(CHOICES["scene"])}
    read = [case.wanted.choices | {"scene": other[case.wanted["scene"]]} for case in PLAN.cases]
    scored = score_prompts(read, PLAN)
    assert scored["scene"].value == 0
    assert scored["by_factor"]["hat"].value == 1
    assert scored["attributes"].value == pytest.approx(1 - len(PLAN.cases) / scored["attributes"].n)


def test_leakage_is_one_for_copies_of_the_reference_and_zero_for_obedience() -> None:
    copies = leakage([PLAN.looks[case.own].choices for case in PLAN.cases], PLAN)
    obedient = leakage([case.wanted.choices for case in PLAN.cases], PLAN)
    assert {name: copies[name].value for name in LEAKS} == dict.fromkeys(LEAKS, 1.0)
    assert {name: obedient[name].value for name in LEAKS} == dict.fromkeys(LEAKS, 0.0)
    assert all(0 < copies[name].n < len(PLAN.cases) for name in LEAKS)


def test_identity_scores_of_perfect_and_of_random_embeddings() -> None:
    references = np.eye(30)
    perfect = score_identity(references[PLAN.own], references, PLAN.own)
    assert (perfect["rank1"].value, perfect["cos_own"].value, perfect["cos_other"].value) == (1, 1, 0)
    random = np.random.default_rng(0).normal(size=(len(PLAN.cases), 30))
    chance = score_identity(random, references, PLAN.own)
    assert chance["auc"].low < 0.5 < chance["auc"].high
    assert chance["rank1"].value < 0.12


def test_figures_become_json_values() -> None:
    found = as_json({"a": score_prompts([case.wanted.choices for case in PLAN.cases], PLAN)})
    assert set(found["a"]["attributes"]) == {"value", "low", "high", "n"}
