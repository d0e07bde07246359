"""Samples: a function of their key alone; photos in folders, and what happens to the unusable ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.faces import get_detector
from facefact.train.material.photos import FolderSource
from facefact.train.material.samples import Sample, brightness
from facefact.train.material.sources import open_source
from facefact.train.material.square import square_around
from facefact.train.material.world import WorldSource
from facefact.train.settings import Data
from facefact.types import UserError
from facefact.world import HELD_OUT, caption, look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[4] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"


def equal(a: Sample, b: Sample) -> bool:
    same = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("image", "face", "head"))
    return same and (a.phrases, a.person, a.yaw, a.light) == (b.phrases, b.person, b.yaw, b.light)


def avatar(who: int, shown: int, size: int = 128) -> np.ndarray:
    return render(person(who), look(shown, glasses="none", pose="front"), size=size).image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people with two good pictures each; and what collects in folders."""
    for who in (1, 2):
        (tmp_path / f"p{who}").mkdir()
        for shown in (1, 2):
            Image.fromarray(avatar(who, 10 * who + shown)).save(tmp_path / f"p{who}" / f"{shown}.png")
    (tmp_path / "p1" / "zero.jpg").write_bytes(b"")
    (tmp_path / "p1" / "text.jpg").write_text("not a picture")
    (tmp_path / "p1" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "p2" / "notes.md").write_text("not meant to be one")
    Image.new("RGB", (40, 40)).save(tmp_path / "p2" / "small.png")
    Image.fromarray(avatar(3, 3)).save(tmp_path / "nobody.png")
    return tmp_path


@pytest.fixture(scope="module")
def detector():
    return get_detector("avatar")


# The world


def test_a_sample_is_a_function_of_its_key() -> None:
    small, large = WorldSource(3, 2, 5), WorldSource(40, 2, 5)
    assert list(large.keys())[:6] == list(small.keys())
    large.sample(70, 64)  # whatever was drawn before
    assert equal(small.sample(3, 64), large.sample(3, 64))
    assert len(set(large.keys())) == 80
    assert not set(large.keys()) & set(WorldSource(40, 2, 6).keys())


def test_pictures_of_a_person_lie_in_a_row_and_are_no_one_of_the_evaluation() -> None:
    source = WorldSource(34, 3, 0)
    people = [who for who, _ in source.seeds]
    assert all(len(set(people[i : i + 3])) == 1 for i in range(0, 102, 3))
    assert len(set(people)) == 34
    assert max(map(max, source.seeds)) < HELD_OUT


def test_a_world_sample_is_the_render_with_its_caption() -> None:
    source = WorldSource(2, 2, 0)
    who, shown = source.seeds[2]
    made, drawn = source.sample(2, 64), render(person(who), look(shown), size=64)
    assert np.array_equal(made.image, drawn.image)
    assert np.array_equal(made.face, drawn.face)
    assert made.caption == caption(look(shown))
    assert made.face_size == pytest.approx(drawn.face.mean())
    assert made.light == pytest.approx(brightness(drawn.image, drawn.face))
    assert made.head.shape == (112, 112, 3)
    assert np.array_equal(made.head, source.sample(2, 128).head)  # the condition does not depend on the size


def test_what_is_worn_is_always_said() -> None:
    texts = {p.text: p.optional for i in range(60) for p in WorldSource(60, 1, 0).sample(i, 16).phrases}
    kept = {text for text, optional in texts.items() if not optional}
    assert "portrait of a person" in kept
    assert any("glasses" in text for text in kept)
    assert all(any(w in t for w in ("portrait", "glasses", "cap", "beanie", "straw")) for t in kept)
    assert len(kept) == 1 + 3 + 3


# Folders


def test_people_captions_and_keys_of_a_folder(folder: Path, detector) -> None:
    (folder / "p1" / "1.txt").write_text("a woman,  smiling\n")
    (folder / "metadata.jsonl").write_text(
        json.dumps({"file_name": "nobody.png", "text": "a man", "person": 7})
        + "\n\n"
        + json.dumps({"file_name": "p1/2.png", "caption": "a girl"})
    )
    source = FolderSource(folder, detector=detector)
    known = {one.path.relative_to(folder).as_posix(): (one.person, one.caption) for one in source.pictures}
    assert known == {
        "nobody.png": ("7", "a man"),
        "p1/1.png": ("p1", "a woman, smiling"),
        "p1/2.png": ("p1", "a girl"),
        "p1/text.jpg": ("p1", None),
        "p1/zero.jpg": ("p1", None),
        "p2/1.png": ("p2", None),
        "p2/2.png": ("p2", None),
        "p2/small.png": ("p2", None),
    }
    before = dict(zip(known, source.keys(), strict=True))
    assert len(set(before.values())) == len(before)
    (folder / "p2" / "2.png").rename(folder / "p2" / "renamed.png")
    (folder / "p1" / "1.txt").write_text("another word")
    again = FolderSource(folder, detector=detector)
    after = dict(zip([one.path.relative_to(folder).as_posix() for one in again.pictures], again.keys(), strict=True))
    assert after["p2/renamed.png"] == before["p2/2.png"]
    assert after["p1/1.png"] != before["p1/1.png"]


def test_a_photo_sample(folder: Path, detector) -> None:
    """A wide picture: the square lies around the face, and the masks with it."""
    wide = np.full((128, 300, 3), 90, np.uint8)
    wide[:, 150:278] = avatar(4, 4)
    Image.fromarray(wide).save(folder / "p2" / "wide.png")
    source = FolderSource(folder, detector=detector)
    index = next(i for i, one in enumerate(source.pictures) if one.path.name == "wide.png")
    made = source.sample(index, 64)
    assert made is not None
    assert made.image.shape == (64, 64, 3)
    assert made.original == (128, 300)
    assert made.crop[0] == 0
    assert made.crop[1] == pytest.approx(75, abs=6)  # 150 px of a picture shrunk to half
    truth = render(person(4), look(4, glasses="none", pose="front"), size=64).face
    assert (made.face > 0.5).sum() == pytest.approx(truth.sum(), rel=0.4)
    assert (truth & (made.face > 0.5)).sum() > 0.7 * (made.face > 0.5).sum()
    assert [p.text for p in made.phrases] == ["portrait of a person"]
    again = source.sample(index, 64)
    assert again is not None
    assert equal(made, again)


def test_the_unusable_are_left_out_each_with_its_reason(folder: Path, detector) -> None:
    source = FolderSource(folder, detector=detector)
    made = [source.sample(i, 128) for i in range(len(source.pictures))]
    why = dict(source.why_not(i) for i, one in enumerate(made) if one is None)
    assert set(why) == {"nobody.png", "p1/text.jpg", "p1/zero.jpg", "p2/small.png"}
    assert why["p1/zero.jpg"] == "the file is empty"
    assert "not a picture" in why["p1/text.jpg"]
    assert "too few pixels (40x40)" in why["p2/small.png"]
    assert "folder of the person" in why["nobody.png"]
    assert sum(one is not None for one in made) == 4


def test_no_face_is_a_reason(tmp_path: Path, detector) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (128, 128), (10, 200, 90)).save(tmp_path / "p" / "grass.png")
    source = FolderSource(tmp_path, detector=detector)
    assert source.sample(0, 64) is None
    assert "no face" in source.why_not(0)[1]


def test_the_square_keeps_as_much_as_it_can() -> None:
    box = lambda x, y: (x - 5, y - 5, x + 5, y + 5)  # noqa: E731
    assert square_around(box(10, 20), 100, 100) == (slice(0, 100), slice(0, 100))
    assert square_around(box(150, 50), 100, 300)[1] == slice(100, 200)
    assert square_around(box(280, 50), 100, 300)[1] == slice(200, 300)
    assert square_around(box(50, 20), 300, 100)[0] == slice(0, 100)


# Before the first step


def test_a_source_is_found_or_the_run_ends_with_one_line(folder: Path, tmp_path_factory) -> None:
    assert isinstance(open_source(Data(people=6)), WorldSource)
    assert isinstance(open_source(Data(source=str(folder), validation_people=1)), FolderSource)
    empty = tmp_path_factory.mktemp("empty")
    single = tmp_path_factory.mktemp("single")
    (single / "me").mkdir()
    Image.new("RGB", (64, 64)).save(single / "me" / "1.png")
    prepared = tmp_path_factory.mktemp("prepared")
    (prepared / "index.parquet").write_bytes(b"")
    for data, message in (
        (Data(people=4, validation_people=4), "none is left"),
        (Data(people=1), "1 people"),
        (Data(looks=0), "at least 1"),
        (Data(source=str(folder), validation_people=2), "none is left"),
        (Data(source=str(folder / "gone")), "no folder"),
        (Data(source=str(empty)), "holds no pictures"),
        (Data(source=str(single)), "several"),
        (Data(source=str(prepared)), "index.parquet cannot be read"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            open_source(data)
        assert "\n" not in str(raised.value)


def test_metadata_that_do_not_fit_are_named_with_their_line(folder: Path, detector) -> None:
    (folder / "metadata.jsonl").write_text('{"file_name": "p1/1.png"}\n{"file_name": "p9/1.png"}\n')
    with pytest.raises(UserError, match=r"line 2 names p9/1\.png"):
        FolderSource(folder, detector=detector)
    (folder / "metadata.jsonl").write_text('{"file_name": "p1/1.png"}\n\nnonsense\n')
    with pytest.raises(UserError, match="line 3"):
        FolderSource(folder, detector=detector)


def test_real_photos() -> None:
    if not PHOTOS.is_dir():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    try:
        detector = get_detector("auto", model=SHARED / "models" / "yunet_n_640_640.onnx")
    except UserError as error:
        pytest.skip(str(error))
    source = FolderSource(PHOTOS, detector=detector)
    made = [source.sample(i, 128) for i in range(0, 100, 10)]
    good = [one for one in made if one is not None]
    assert len(good) >= 8
    assert len({one.person for one in good}) > 1
    for one in good:
        assert 0.05 < one.face_size < 0.6
        assert 0.1 < one.light < 0.95
        assert one.head.any(2).mean() > 0.3
        assert one.original == (250, 250)
