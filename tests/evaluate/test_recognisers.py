"""`facefact eval recogniser`: the bundle's own encoder on renders, and dlib on LFW where both are there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from facefact.apps import cli
from facefact.data.recognisers import AVATAR_ENCODER, dlib_lacks
from facefact.evaluate.recognisers import evaluate_recogniser, in_the_middle, open_named
from facefact.faces import get_detector
from facefact.faces.crop import face_from_landmarks
from facefact.types import UserError
from facefact.world import look, person, render
from portraits import people

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
LFW = SHARED / "data/lfw_small"


def test_the_command_knows_the_bundles_encoder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = get_detector("avatar")
    monkeypatch.setattr("facefact.faces.get_detector", lambda **options: detector)
    folder = people(tmp_path / "photos", count=21, looks=2, size=112)
    (folder / "Person_3/broken.png").write_text("I am no picture")
    call = ["eval", "recogniser", str(AVATAR_ENCODER), str(folder), "--json", str(tmp_path / "r.json")]
    assert cli.main(call) == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["people"], found["pictures"], found["skipped"]) == (21, 42, 1)
    assert found["verification"]["auc"]["value"] > 0.98
    assert found["recogniser"].startswith("TransFace ")
    assert "verification.accuracy" in capsys.readouterr().out


@pytest.mark.skipif(bool(dlib_lacks()), reason=dlib_lacks() or "dlib")
@pytest.mark.skipif(not LFW.is_dir(), reason="no photos of LFW here")
@pytest.mark.long
def test_dlib_tells_lfw_apart_as_its_author_says() -> None:
    try:
        detector = get_detector()
        found = evaluate_recogniser("dlib", LFW, detector)
    except UserError as error:
        pytest.skip(str(error))
    assert found["verification"]["auc"]["value"] > 0.995
    assert found["verification"]["accuracy"]["value"] > 0.98


def test_what_cannot_be_had_is_refused(tmp_path: Path) -> None:
    for name in ("auto", "none"):
        with pytest.raises(UserError, match="name dlib"):
            open_named(name)
    with pytest.raises(UserError, match="there is no recogniser"):
        open_named(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="is no folder"):
        evaluate_recogniser(str(AVATAR_ENCODER), tmp_path / "nothing", get_detector("avatar"))
    with pytest.raises(UserError, match="20 are needed"):
        evaluate_recogniser(
            str(AVATAR_ENCODER), people(tmp_path / "few", count=1, looks=1, size=96), get_detector("avatar")
        )


def test_the_person_is_in_the_middle_where_anybody_is() -> None:
    face = face_from_landmarks(render(person(1), look(1), size=100).landmarks)
    aside = face_from_landmarks(render(person(1), look(1), size=100).landmarks + [80, 0])
    assert in_the_middle([aside, face], 100) == [face]
    assert in_the_middle([aside], 100) == [aside]
