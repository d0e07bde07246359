"""`facefact faces`: lines or JSON, drawings, exit codes; with a detector that finds what the test says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.apps.commands import faces as command
from facefact.faces.align import TEMPLATE
from facefact.faces.crop import face_from_landmarks
from facefact.types import Face, UserError


class BrightPicturesHaveAFace:
    name, licence = "fake", "none"

    def detect(self, picture: np.ndarray) -> list[Face]:
        return [face_from_landmarks(TEMPLATE), face_from_landmarks(TEMPLATE / 5)] if picture.mean() > 100 else []

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One picture with a face, one without, one that is none, below a folder with a note."""
    monkeypatch.setattr(command, "get_detector", lambda *args, **options: BrightPicturesHaveAFace())
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.new("RGB", (120, 112), "white").save(tmp_path / "in" / "bright.png")
    Image.new("RGB", (120, 112), "black").save(tmp_path / "in" / "deep" / "dark.JPG")
    (tmp_path / "in" / "broken.png").write_text("no")
    (tmp_path / "in" / "note.txt").write_text("no picture")
    return tmp_path


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["faces", *map(str, words)])
    return args.run(args)


def test_a_folder_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder / "in", "--json", "--draw", folder / "out") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["summary"] | {"ms_mean": 0, "ms_median": 0} == {
        "pictures": 3,
        "with_face": 1,
        "usable": 1,
        "detection_rate": 1 / 3,
        "ms_mean": 0,
        "ms_median": 0,
    }
    bright, broken, dark = answer["pictures"]
    assert bright["which"] == 0
    assert len(bright["faces"]) == 2
    assert bright["faces"][0]["unusable"] is None
    assert "too small" in bright["faces"][1]["unusable"]
    np.testing.assert_allclose(bright["faces"][0]["landmarks"], TEMPLATE, atol=0.01)
    assert "not a picture" in broken["error"]
    assert broken["drawn"] is None
    assert "no face" in dark["error"]
    assert all(Image.open(picture["drawn"]).size == (480, 448) for picture in (bright, dark))


def test_lines_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder / "in") == 0
    out = capsys.readouterr().out
    assert "bright.png: 2 faces" in out
    assert "dark.JPG: no face" in out
    assert "1 of 3 pictures have a face (33.3%)" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["in/deep/dark.JPG"], "dark.JPG: no face"),
        (["in/broken.png"], "not a picture"),
        (["in/absent.png"], "no such file"),
        (["in/bright.png", "--which", "1"], "too small"),
        (["in/bright.png", "--which", "7"], "no face 7"),
        (["in/bright.png", "in/deep/dark.JPG", "in/broken.png"], "2 of 3 pictures"),
        (["in/deep"], "dark.JPG: no face"),
        (["in/bright.png", "--draw", "in/note.txt"], "cannot be a folder"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    words: list[str], reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=reason) as caught:
        run(*words)
    assert "\n" not in str(caught.value)


def test_a_folder_without_pictures(folder: Path) -> None:
    (folder / "none").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        run(folder / "none")


def test_photo_and_avatar_side_by_side(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (120, 112), (150, 95, 70)).save(folder / "in" / "bright.png")
    assert run(folder / "in" / "bright.png", "--avatar", folder / "avatars") == 0
    assert "photo and avatar: " in capsys.readouterr().out
    (written,) = (folder / "avatars").iterdir()
    with Image.open(written) as both:
        photo, avatar = (both.crop(part) for part in ((0, 0, both.height, both.height), (both.height, 0, *both.size)))
    assert photo.getpixel((150, 150)) == (150, 95, 70)
    assert max(abs(a - b) for a, b in zip(avatar.getpixel((156, 110)), (150, 95, 70), strict=True)) < 30

    monkeypatch.setattr(
        BrightPicturesHaveAFace, "detect", lambda self, picture: [face_from_landmarks(TEMPLATE, backend="avatar")]
    )
    assert run(folder / "in" / "bright.png", "--avatar", folder / "none", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pictures"][0]["avatar"] is None  # it is one already
    assert not any((folder / "none").iterdir())
