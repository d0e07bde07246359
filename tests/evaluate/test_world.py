"""The figures of `facefact eval world`, on answers whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from facefact.evaluate.identity_factors import GROUPS
from facefact.evaluate.protocol import Protocol, protocol
from facefact.evaluate.world import (
    IDENTITY,
    LEAKS,
    Measured,
    Samples,
    as_json,
    attribute_hits,
    identity_samples,
    leaks,
    report,
    score_identity,
)
from facefact.world import CHOICES, visible

PLAN = protocol(5, people=30, per_person=4)


def samples(plan: Protocol, **changed: np.ndarray | float) -> Samples:
    """Of pictures that are all that was asked for, but for what is changed."""
    n = len(plan.cases)
    read = [case.wanted.choices for case in plan.cases]
    made = attribute_hits(read, plan.cases) | {f"leak_{k}": v for k, v in leaks(read, plan).items()}
    ones = (*IDENTITY, "outside_change", "psnr_db", "face_error", *(f"wrong_{name}" for name in GROUPS))
    made |= dict.fromkeys(ones, np.ones(n))
    return made | {name: np.broadcast_to(value, n).astype(float) for name, value in changed.items()}


def measured(plan: Protocol, **adapter: np.ndarray | float) -> Measured:
    return Measured(
        plan,
        {
            "renders": samples(plan, other_error=11.0),
            "autoencoder": samples(plan, face_error=1.0),
            "base": samples(plan, face_error=9.0),
            "adapter": samples(plan, **({"face_error": 4.0} | adapter)),
            "adapter_without_fair": samples(plan, outside_change=2.0),
        },
    )


def test_a_reader_that_sees_what_was_asked_scores_one() -> None:
    scored = report([measured(PLAN)])["base"]
    assert scored["attributes"].value == scored["scene"].value == 1
    assert scored["attributes"].n == sum(len(visible(case.wanted)) for case in PLAN.cases)


def test_one_wrong_factor_costs_only_itself_and_is_the_worst() -> None:
    found = report([measured(PLAN, scene=0.0)])["adapter"]
    assert found["scene"].value == 0
    assert found["by_factor"]["hat"].value == 1
    assert found["attributes"].value == pytest.approx(1 - len(PLAN.cases) / found["attributes"].n)
    assert found["worst_factor"].value == -1
    assert report([measured(PLAN)])["adapter"]["worst_factor"].value == 0


def test_leakage_is_one_for_copies_of_the_reference_and_zero_for_obedience() -> None:
    copies = leaks([PLAN.looks[case.own].choices for case in PLAN.cases], PLAN)
    obedient = leaks([case.wanted.choices for case in PLAN.cases], PLAN)
    for name in LEAKS:
        assert np.nanmean(copies[name]) == 1
        assert np.nanmean(obedient[name]) == 0
        assert 0 < np.isfinite(copies[name]).sum() < len(PLAN.cases)


def test_identity_scores_of_perfect_and_of_random_embeddings() -> None:
    references = np.eye(30)
    perfect = score_identity(references[PLAN.own], references, PLAN.own)
    assert (perfect["rank1"].value, perfect["cos_own"].value, perfect["cos_other"].value) == (1, 1, 0)
    random = np.random.default_rng(0).normal(size=(len(PLAN.cases), 30))
    chance = score_identity(random, references, PLAN.own)
    assert chance["auc"].low < 0.5 < chance["auc"].high
    assert chance["rank1"].value < 0.12
    assert set(identity_samples(random, references, PLAN.own)) == set(IDENTITY)


def test_the_expression_that_is_followed_least_is_named_by_its_figure() -> None:
    wanted = np.array([case.wanted["expression"] for case in PLAN.cases])
    found = report([measured(PLAN, expression=np.where(wanted == "sad", 0.25, 1.0))])["expression"]
    assert found["worst"].value == pytest.approx(0.25)
    assert found["base"].value == 1
    assert found["difference"].value == pytest.approx(found["adapter"].value - 1)


def test_face_error_is_zero_at_the_autoencoders_and_one_at_another_persons() -> None:
    for error, relative in ((1.0, 0.0), (11.0, 1.0), (4.0, 0.3)):
        assert report([measured(PLAN, face_error=error)])["face_error"]["relative"].value == pytest.approx(relative)


def test_identity_factors_are_ratios_to_renders_where_they_can_be_seen() -> None:
    hidden = np.where(np.arange(len(PLAN.cases)) % 2, np.nan, 1.5)
    found = report([measured(PLAN, wrong_skin=3.0, wrong_eye_colour=hidden)])["identity_factors"]
    assert [found[name].value for name in GROUPS] == [3, 1.5, 1]
    assert found["eye_colour"].n == len(PLAN.cases) // 2
    assert set(as_json(found)["skin"]) == {"value", "low", "high", "n"}


def test_skins_are_told_apart_and_ratios_are_paired() -> None:
    tone = np.array([PLAN.people[case.own]["skin_tone"] for case in PLAN.cases])
    found = report([measured(PLAN, rank1=np.where(tone > 1 / 3, 0.5, 1.0), outside_change=1.0)])
    assert [found["by_skin"][skin]["rank1"].value for skin in ("light", "mid", "dark")] == [1, 1, 0.5]
    assert sum(found["by_skin"][skin]["rank1"].n for skin in found["by_skin"]) == len(PLAN.cases)
    assert found["outside_ratio"].value == 0.5


def test_seeds_are_pooled_and_galleries_widen_the_interval() -> None:
    plans = [protocol(seed, people=30, per_person=4) for seed in (5, 6)]
    apart = report([measured(plan, rank1=value) for plan, value in zip(plans, (0.6, 0.9), strict=True)])
    assert apart["adapter"]["rank1"].value == pytest.approx(0.75)
    assert apart["adapter"]["rank1"].n == 240
    assert apart["adapter"]["rank1"].low == pytest.approx(0.6), "both galleries may be the same one"
    assert apart["adapter"]["rank1"].high == pytest.approx(0.9)


def test_figures_become_json_values() -> None:
    found = as_json(report([measured(PLAN)]))
    assert set(found["adapter"]["attributes"]) == {"value", "low", "high", "n"}
    assert set(found["leakage"]["adapter"]) == set(LEAKS)
    assert set(CHOICES) == set(found["adapter"]["by_factor"])
