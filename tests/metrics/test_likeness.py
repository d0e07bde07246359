"""Natural units: the medians are 0 and 1, words follow the order, and a file comes back or is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from facefact import UserError
from facefact.metrics import likeness
from facefact.metrics.likeness import Calibration, calibration_of, load_calibrations, save_calibrations

SAME = {"5": 0.5, "25": 0.6, "50": 0.7, "75": 0.8, "95": 0.9}
DIFFERENT = {"5": -0.2, "25": -0.1, "50": 0.1, "75": 0.2, "95": 0.3}
CALIBRATION = Calibration("one", 10, 40, SAME, DIFFERENT)


def people(spread: float, *, count: int = 20, each: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors about a random centre for each person."""
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(count), each)
    vectors = rng.normal(size=(count, 32))[whose] + spread * rng.normal(size=(len(whose), 32))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), whose


def test_the_medians_are_the_units() -> None:
    assert CALIBRATION.likeness(0.1) == 0
    assert CALIBRATION.likeness(0.7) == 1
    assert CALIBRATION.likeness(0.4) == pytest.approx(0.5)
    assert CALIBRATION.likeness(0.8) > 1 > 0 > CALIBRATION.likeness(0.0)
    assert math.isnan(CALIBRATION.likeness(math.nan))


def test_the_words_follow_the_order() -> None:
    order = [likeness.AS_STRANGERS, likeness.BETWEEN, likeness.AS_ONE_LESS, likeness.AS_ONE]
    said = [CALIBRATION.in_words(value) for value in np.linspace(-1, 1, 401)]
    assert list(dict.fromkeys(said)) == order
    assert CALIBRATION.in_words(0.6) == likeness.AS_ONE
    assert CALIBRATION.in_words(0.599) == likeness.AS_ONE_LESS
    assert CALIBRATION.in_words(0.29) == likeness.AS_STRANGERS
    assert CALIBRATION.in_words(math.nan) == ""


def test_a_recogniser_that_confuses_people_says_no_more_than_it_knows() -> None:
    poor = Calibration("poor", 10, 40, SAME, {**DIFFERENT, "95": 0.55})
    assert poor.in_words(0.52) == likeness.AS_STRANGERS, "so alike are 1 of 20 pairs of strangers"
    assert poor.in_words(0.56) == likeness.AS_ONE_LESS


def test_it_is_measured_on_pairs() -> None:
    embeddings, whose = people(0.5)
    found = calibration_of(embeddings, whose, recogniser="one")
    cosines = embeddings @ embeddings.T
    rows, columns = np.triu_indices(len(whose), 1)
    own = whose[rows] == whose[columns]
    assert found.same["50"] == pytest.approx(np.median(cosines[rows, columns][own]), abs=1e-4)
    assert found.different["95"] == pytest.approx(np.percentile(cosines[rows, columns][~own], 95), abs=1e-4)
    assert (found.people, found.pictures) == (20, 80)
    assert list(found.same.values()) == sorted(found.same.values())


def test_what_cannot_be_calibrated_is_said() -> None:
    embeddings, whose = people(0.5, count=1)
    with pytest.raises(UserError, match="at least two people"):
        calibration_of(embeddings, whose, recogniser="one")
    embeddings, whose = people(0.5, each=1)
    with pytest.raises(UserError, match="at least two of one of them"):
        calibration_of(embeddings, whose, recogniser="one")
    opposed = np.array([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    with pytest.raises(UserError, match="one does not tell these people apart"):
        calibration_of(opposed, np.array([0, 0, 1, 1]), recogniser="one")


def test_a_file_comes_back(tmp_path: Path) -> None:
    save_calibrations([CALIBRATION], tmp_path / "new" / "a.json")
    assert load_calibrations(tmp_path / "new" / "a.json") == {"one": CALIBRATION}


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": "facefact.likeness", "version": 2}', "[" * 100_000, "none"]
    + [
        json.dumps({"format": "facefact.likeness", "version": 1, "calibrations": [one]})
        for one in (1, {}, {"recogniser": "a", "people": 1, "pictures": 1, "same": DIFFERENT, "different": SAME})
    ],
)
def test_what_is_no_calibration_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json [^\n]+$"):
        load_calibrations(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        load_calibrations(tmp_path / "none.json")
