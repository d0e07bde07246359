"""The suite's figures: a method that is right, and the whole command at tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.demo import bundle_path, judges_path
from facefact.evaluate.causal.generators import OneByOne
from facefact.evaluate.causal.reading import Reader
from facefact.evaluate.judges import Judges
from facefact.evaluate.protocol import protocol
from facefact.evaluate.suite import (
    TRUTH,
    WORDS,
    Gallery,
    Suite,
    all_leaks,
    features,
    figures,
    no_dark_glasses,
    run_suite,
    spread_of,
)
from facefact.types import UserError
from facefact.world import CHOICES, render

SIZES = {"people": 6, "per_person": 2, "faces": 2}


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges.open(judges_path(), bundle_path())


@pytest.fixture(scope="module")
def suite(judges: Judges) -> Suite:
    """Renders as one method, the references as another, and strangers for the base model."""
    gallery = Gallery.of(7, **SIZES)
    true = {
        (request.prompt, request.seed): render(gallery.plan.people[case.own], case.wanted).image
        for request, case in zip(gallery.requests, gallery.plan.cases, strict=True)
    }
    true |= {
        (request.prompt, request.seed): shown
        for request, shown in zip(gallery.several, gallery.true_several, strict=True)
    }
    stranger = {
        key: render(protocol(70, people=6).people[i % 6], protocol(70, people=6).cases[i].wanted).image
        for i, key in enumerate(true)
    }
    methods = [
        OneByOne("true", lambda references, prompt, seed: true[prompt, seed]),
        OneByOne("copy", lambda references, prompt, seed: references[0]),
    ]
    base = OneByOne("base", lambda references, prompt, seed: stranger[prompt, seed])
    reader = Reader.fit(judges, people=150, looks=no_dark_glasses)
    return run_suite([*methods, base], base, judges, reader, seed=7, **SIZES)


def test_true_pictures_are_right_in_every_figure(suite: Suite) -> None:
    found = figures(suite, "true")
    assert found["rank1"].value == 1
    assert found["rank1_factors"].value > 0.8
    assert found["factor_error"].value < 0.6 * figures(suite, "base")["factor_error"].value
    assert found["factor_error"] == figures(suite, TRUTH)["factor_error"], "it is the world itself"
    assert found["no_face"].value == 0
    assert found["face_error"].value < 6
    assert found["attributes"].value > 0.9
    assert found["copy_paste"].value == pytest.approx(-1, abs=0.01)
    assert found["diversity"].value == pytest.approx(1)
    assert {name.split(".")[0] for name in found} <= set(WORDS)


def test_copies_leak_paste_and_have_no_diversity(suite: Suite) -> None:
    found = figures(suite, "copy")
    assert found["rank1"].value == 1
    assert found["copy_paste"].value == pytest.approx(1, abs=0.01)
    assert found["diversity"].value == pytest.approx(0, abs=1e-4)
    leaks = [one.value for name, one in found.items() if name.startswith("leakage.")]
    assert np.mean(leaks) > 0.9
    assert found["less.copy_paste"].value == pytest.approx(2, abs=0.02)
    assert found["less.attributes"].high < 0


def test_the_base_model_is_near_itself_and_has_no_change_to_measure(suite: Suite) -> None:
    found = figures(suite, "base")
    assert found["kid"].low <= 0 <= found["kid"].high
    assert "outside_change" not in found
    assert found["rank1"].value < 0.6


def test_all_ten_factors_can_leak() -> None:
    plan = protocol(5, people=30)
    copies = all_leaks([plan.looks[case.own].choices for case in plan.cases], plan)
    obedient = all_leaks([case.wanted.choices for case in plan.cases], plan)
    assert set(copies) == set(CHOICES)
    for name in CHOICES:
        assert np.nanmean(copies[name]) == 1
        assert np.nanmean(obedient[name]) == 0


def test_features_are_the_readers_and_spread_needs_faces(judges: Judges) -> None:
    plan = protocol(5, people=6, per_person=1)
    pictures = np.stack([one.image for one in plan.references])
    assert features(judges, pictures).shape == (6, judges.reader.config.hidden)
    assert (spread_of(judges, pictures, 3) > 0).all()
    pictures[0] = 90
    np.testing.assert_array_equal(np.isnan(spread_of(judges, pictures, 3)), [True, False])


def test_too_little_is_refused(judges: Judges) -> None:
    with pytest.raises(UserError, match="6 people"):
        run_suite([], OneByOne("base", lambda references, prompt, seed: references[0]), judges, None, people=5)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_command_gives_the_same_numbers_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = [
        "eval",
        "suite",
        "--people",
        "6",
        "--faces",
        "2",
        "--renders",
        "100",
        "--steps",
        "1",
        "--device",
        "cpu",
        "--methods",
        "fact",
        "without-fair",
    ]
    for name in ("a", "b"):
        assert cli.main([*call, "--out", str(tmp_path / name)]) == 0
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    found = json.loads((tmp_path / "a/report.json").read_text())
    assert list(found["methods"]) == ["FACT", "FACT without FAIR", TRUTH]
    assert "kid_nobody" in found["methods"]["FACT"]
    assert "attributes.hat" in found["methods"]["FACT"]
    assert "by_skin.rank1.light" in found["methods"]["FACT"]
    capsys.readouterr()
    assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "0 of " in capsys.readouterr().out
