"""`facefact eval avatar`: the figures on folders of pictures whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.evaluate.avatar import FEWEST, distances, fitted, within_spread
from facefact.faces import get_detector
from facefact.metrics.verification import roc
from facefact.world import look, person, render
from facefact.world.likeness import look_at
from facefact.world.likeness.calibration import FILE
from facefact.world.likeness.estimate import factors_of, measured
from portraits import people


def test_whitening_makes_the_spread_within_people_round() -> None:
    rng, people_ = np.random.default_rng(0), np.repeat(np.arange(50), 8)
    factors = rng.normal(size=(50, 3))[people_] + rng.normal(size=(400, 3)) * [3.0, 0.3, 0.3]
    white = factors @ within_spread(factors, people_)
    centred = white - np.stack([white[people_ == one].mean(0) for one in people_])
    spread = centred.std(0)
    assert spread.max() / spread.min() < 3.5  # (10 before)
    assert roc(distances(white, people_)).auc > roc(distances(factors, people_)).auc + 0.1


def test_the_nearest_are_of_one_person() -> None:
    pairs = distances(np.array([[0.0, 0], [0, 1], [5, 5]]), np.array([0, 0, 1]))
    assert pairs.similarity.tolist() == [-1, -50, -41]
    assert pairs.same.tolist() == [True, False, False]


def test_a_kind_that_hardly_anybody_is_seen_as_keeps_the_packages_calibration() -> None:
    """One photo in which only five points are found, among those with a mesh: as in every folder of real photos."""
    avatars = get_detector("avatar")
    seeds = [(who, 100 * again + who) for who in range(FEWEST + 1) for again in range(2)]
    drawn = [render(person(who), look(seed, glasses="none", pose="front"), size=128).image for who, seed in seeds]
    told = [measured(look_at(image, avatars.detect(image)[0], avatars)) for image in drawn]
    told = [*told[:-1], replace(told[-1], kind="mesh")]
    scales = fitted(told, np.array([who for who, _ in seeds]))
    assert set(scales) == {"points"}
    np.testing.assert_array_equal(factors_of(told[-1:], scales), factors_of(told[-1:]))
    assert (factors_of(told[:1], scales) != factors_of(told[:1])).any()


def test_the_command_measures_and_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On renders, whose five points the avatar detector finds."""
    folder = people(tmp_path / "photos", count=16, looks=3, size=128)
    avatars = get_detector("avatar")
    monkeypatch.setattr("facefact.faces.get_detector", lambda **options: avatars)
    call = ["eval", "avatar", str(folder), "--json", str(tmp_path / "a.json"), "--fit", str(tmp_path / "fit.json")]
    assert cli.main(call) == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["photos"] + report["skipped"], report["people"]) == (48, 16)
    assert report["seen_with"] == {"points": report["photos"]}
    assert report["unseen_people"]["plain"]["value"] > 0.6
    assert report["skin"]["error"]["value"] < 15
    assert set(json.loads((tmp_path / "fit.json").read_text())["points"]) == set(json.loads(FILE.read_text())["points"])
    assert "unseen_people.plain" in capsys.readouterr().out


def test_too_few_people_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(tmp_path / "photos", count=2, looks=1, size=96)
    assert cli.main(["eval", "avatar", str(tmp_path / "photos")]) == 2
    assert "16 are needed" in capsys.readouterr().err
    assert cli.main(["eval", "avatar", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
