"""The report of a dataset: its counts add up, its examples are drawn where they should be, any size has one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefact.data.dataset import IndexRow
from facefact.data.records import Rejection
from facefact.data.report import FACE, HEAD, Example, choose, drawn, window, write_report
from facefact.faces.draw import CHOSEN, POINTS
from facefact.types import UserError
from pages import read
from prepared import avatar, row, write_dataset

pytest.importorskip("pyarrow")

HOSTILE = "<script>alert(1)</script>/ä\u202e\"'&.jpg"
REJECTED = [
    Rejection("Ann/broken.jpg", "decode", "truncated", "the file ends too early"),
    Rejection(HOSTILE, "decode", "truncated", "x"),
    Rejection("Ann/forest.jpg", "detect", "no face", "nothing above 0.5"),
    Rejection("Ann/group.jpg", "size", "too small", "31 px, least 48", box=(4.0, 4.0, 9.0, 9.0)),
    Rejection("Bob/other.png", "person", "outlier", "distance 0.71, most 0.6"),
]


def rows_of(pictures: dict[str, int]) -> list[IndexRow]:
    """person -> pictures; the second person is kept out of training."""
    people = [person for person, count in pictures.items() for _ in range(count)]
    second = list(pictures)[1:2]
    return [row(i, person=one, split="validation" if one in second else "train") for i, one in enumerate(people)]


@pytest.fixture(scope="module")
def rows() -> list[IndexRow]:
    return rows_of({"Ann": 4, "Bob": 3, "Cid": 1})


@pytest.fixture
def dataset(tmp_path, rows) -> Path:
    return write_dataset(tmp_path / "set", rows, REJECTED)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_page_says_what_became_of_every_picture(dataset) -> None:
    assert write_report(dataset) == dataset / "report.html"
    page = read(dataset / "report.html")
    assert page.needs_nothing()
    for words in (
        "8 portraits of 3 people",
        "13 pictures = 8 kept + 5 rejected",
        "61.5 %",
        "Pictures per person",
        "5 pictures",
        "of 2 people",
        "Median 3",
        "CC0-1.0",
        "unknown8",
        "8 by words",
    ):
        assert words in squeezed(page.text), words
    assert "not accounted" not in page.text
    for words in (
        "decode13112truncated 2",
        "detect11101no face 1",
        "size1091too small 1",
        "masks990",
        "person981outlier 1",
    ):
        assert words in page.text.replace("\n", ""), words


def test_the_funnel_is_drawn_to_scale(dataset) -> None:
    drawn = read(write_report(dataset)).rectangles
    passed = {one["words"].partition(":")[0]: float(one["width"].rstrip("%")) for one in drawn if one["class"] == "bar"}
    assert passed["decode"] == pytest.approx(100 * 11 / 13, abs=0.01)
    assert passed["person"] == pytest.approx(100 * 8 / 13, abs=0.01)
    lost = {one["words"]: float(one["width"].rstrip("%")) for one in drawn if one["class"] == "lost"}
    assert lost["decode: truncated: 2"] == 100
    assert lost["person: outlier: 1"] == 50


def test_further_faces_of_a_picture_add_up(tmp_path, rows) -> None:
    """Three faces of one picture: two are kept, one is too small."""
    same = [replace(one, name="group.jpg", faces=3) for one in rows[:2]]
    lost = [Rejection("group.jpg", "size", "too small"), Rejection("x.jpg", "detect", "no face")]
    text = squeezed(read(write_report(write_dataset(tmp_path, same, lost))).text)
    assert "2 pictures + 2 further faces of the same pictures = 2 kept + 2 rejected" in text
    assert "detect211no face 1" in text
    assert "further faces+ 2" in text
    assert "size321too small 1" in text
    assert "person220" in text


def test_a_picture_that_was_lost_is_told(tmp_path, rows) -> None:
    folder = write_dataset(tmp_path, rows, REJECTED, inputs=15)
    assert "The input has 15 pictures, but 13 are in the index" in read(write_report(folder)).text


def test_a_stage_that_nobody_knows_is_counted(tmp_path, rows) -> None:
    folder = write_dataset(tmp_path, rows, [Rejection("a.jpg", "horoscope", "ram")])
    assert "horoscope981ram 1" in squeezed(read(write_report(folder)).text)


def test_examples_stand_under_their_stage_and_reason(dataset) -> None:
    tile = np.full((20, 30, 3), 90, np.uint8)
    examples = [Example("Ann/0.png", None, detail="yaw 3", picture=tile)]
    examples += [
        Example(one.name, one.stage, one.reason, one.detail, tile if one.box else None) for one in REJECTED[1:]
    ]
    page = read(write_report(dataset, examples))
    assert page.needs_nothing()
    assert len(page.sources) == 2
    shown = [heading for heading in page.headings if ":" in heading]
    assert shown == ["decode: truncated 1 of 2", "detect: no face 1", "size: too small 1", "person: outlier 1"]
    assert {"Kept", "Rejected"} <= set(page.headings)
    assert HOSTILE in page.text
    assert "31 px, least 48" in page.text
    assert not {"Kept", "Rejected"} & set(read(write_report(dataset)).headings)


def test_where_models_lie_stays_private(dataset) -> None:
    raw = write_report(dataset).read_text(encoding="utf-8")
    assert "somebody" not in raw
    assert ".../dlib" in raw
    assert str(dataset) not in raw


def test_the_same_dataset_has_the_same_report(tmp_path, rows) -> None:
    made = [write_report(write_dataset(tmp_path / name, rows, REJECTED)).read_bytes() for name in ("a", "b")]
    assert made[0] == made[1]


def test_a_dataset_of_nothing_and_of_one(tmp_path, rows) -> None:
    empty = read(write_report(write_dataset(tmp_path / "none", [])))
    assert "0 pictures = 0 kept + 0 rejected" in empty.text
    assert "Pictures per person" not in empty.text
    assert "1 portrait of 1 person" in read(write_report(write_dataset(tmp_path / "one", rows[:1]))).text
    none = read(write_report(write_dataset(tmp_path / "lost", [], REJECTED)))
    assert "0 kept + 5 rejected" in squeezed(none.text)


def test_thousands_of_rows(tmp_path, rows) -> None:
    many = [replace(rows[i % 8], sample=f"{i:06d}", name=f"{i}.jpg", person=f"p{i % 700}") for i in range(4000)]
    path = write_report(write_dataset(tmp_path, many, shards=False))
    assert path.stat().st_size < 100_000
    page = read(path)
    assert "4,000 portraits of 700 people" in page.text
    assert page.text.count("p1") < 20


def test_a_folder_that_is_no_dataset(tmp_path, rows) -> None:
    with pytest.raises(UserError, match=r"has no index.parquet: .*facefact prepare"):
        write_report(tmp_path)
    folder = write_dataset(tmp_path / "set", rows[:1])
    (folder / "prepare.json").write_text("{")
    with pytest.raises(UserError, match=r"prepare.json cannot be read"):
        write_report(folder)
    (folder / "prepare.json").unlink()
    assert "1 picture = 1 kept" in read(write_report(folder)).text
    (folder / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="not a whole index.parquet"):
        write_report(folder)
    write_dataset(folder, [])
    (folder / "rejected.parquet").write_bytes((folder / "index.parquet").read_bytes())
    with pytest.raises(UserError, match="not a whole rejected.parquet"):
        write_report(folder)


@pytest.mark.parametrize("about", [{"counts": 3, "models": {"a": 1}, "settings": []}, {"models": [3, {"stage": None}]}])
def test_what_prepare_json_does_not_say_is_left_out(tmp_path, rows, about) -> None:
    folder = write_dataset(tmp_path, rows, about=about)
    (folder / "prepare.json").write_text(json.dumps(about))
    assert "8 pictures = 8 kept" in read(write_report(folder)).text


# Which are shown


def test_the_choice_does_not_depend_on_the_order_and_is_spread(rows) -> None:
    many = [replace(rows[0], sample=f"{i:06d}", name=f"{i}.jpg") for i in range(500)]
    lost = [Rejection(f"{i:04d}.jpg", "detect", "no face", box=None) for i in range(300)]
    lost += [Rejection("a.jpg", "size", "too small"), Rejection("b.jpg", "decode", "truncated")]
    first, second = choose(many, lost), choose(many[::-1], lost[::-1])
    assert first == second
    kept, rejected = first
    assert len(kept) == 18
    assert [one.stage for one in rejected] == ["decode", *["detect"] * 6, "size"]
    place = np.sort([int(one.sample) for one in kept])
    assert 100 < place.mean() < 400
    assert np.diff(place).max() > 5
    assert int(max(one.name for one in rejected[1:7])[:4]) > 100


def test_choosing_from_few_or_none(rows) -> None:
    assert choose([], []) == ([], [])
    kept, rejected = choose(rows[:2], REJECTED, per_reason=1, kept=5)
    assert sorted(one.sample for one in kept) == [one.sample for one in rows[:2]]
    assert [one.reason for one in rejected] == ["truncated", "no face", "too small", "outlier"]
    assert choose(iter(rows), iter(REJECTED), kept=0)[0] == []


# What is drawn


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour).max(-1) < 40).astype(bool)


def test_landmarks_box_and_outlines_lie_where_they_are() -> None:
    """A grey picture, twice the thumbnail's size; a face that fills a third of it."""
    grey = np.full((400, 300, 3), 128, np.uint8)
    points = np.array([[110, 130], [190, 130], [150, 180], [120, 220], [180, 220]], np.float32)
    mask = np.zeros((400, 300), bool)
    mask[100:250, 90:210] = True
    made = drawn(grey, box=(80, 90, 220, 260), landmarks=points.ravel(), face=mask, size=200)
    assert made.shape == (200, 150, 3)
    assert (grey == 128).all()
    for point, colour in zip(points / 2, POINTS, strict=True):
        x, y = np.round(point).astype(int)
        assert near(made[y - 2 : y + 2, x - 2 : x + 2], colour).any()
    rows_, columns = np.nonzero(near(made, FACE) & ~near(made, POINTS[0]))
    ys, xs = np.nonzero(near(made, CHOSEN))
    assert (abs(xs.min() - 40), abs(ys.min() - 45), abs(xs.max() - 110), abs(ys.max() - 130)) <= (3, 3, 3, 3)
    line = np.nonzero(near(made[75, :, :], FACE))[0]
    assert abs(line.min() - 45) <= 1
    assert abs(line.max() - 104) <= 1
    assert not near(made, HEAD).any()
    assert near(drawn(grey, head=mask, size=200)[:, 45], HEAD).any()


def test_a_small_face_is_shown_large() -> None:
    assert window((1000, 2000, 3), (500, 400, 540, 440)) == (460, 360, 580, 480)
    assert window((1000, 2000, 3), (0, 0, 40, 40)) == (0, 0, 120, 120)  # at the edge: as large, moved inside
    assert window((1000, 2000, 3), (-50, 990, -10, 1100)) == (0, 670, 330, 1000)
    assert window((250, 250, 3), (80, 80, 170, 190)) == (0, 0, 250, 250)
    assert window((250, 300, 3), None) == (0, 0, 300, 250)
    assert window((250, 300, 3), (np.nan, 0, 3, 3)) == (0, 0, 300, 250)
    picture = np.zeros((1000, 2000, 3), np.uint8)
    picture[400:440, 500:540] = 255
    assert (drawn(picture, box=(500, 400, 540, 440), size=120)[50:70, 50:70] == 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3000, 2), (192, 192)])
def test_every_form_has_a_thumbnail(shape) -> None:
    made = drawn(
        np.zeros((*shape, 3), np.uint8), box=(0, 0, 1, 1), face=np.ones(shape, bool), head=np.zeros(shape, bool)
    )
    assert made.dtype == np.uint8
    assert max(made.shape[:2]) == 192
    assert min(made.shape[:2]) >= 1


def test_both_masks_are_outlined_on_an_avatar() -> None:
    one, shown = row(9, person="Ann"), avatar(2, 9)
    made = drawn(shown.image, box=one.box, landmarks=one.landmarks, face=shown.face, head=shown.head).astype(int)
    bare = drawn(shown.image, box=one.box, landmarks=one.landmarks).astype(int)
    changed = made[(made != bare).any(-1)]
    nearest = np.linalg.norm(changed[:, None] - np.array([FACE, HEAD]), axis=-1).argmin(1)
    assert 0.03 * made[..., 0].size > np.bincount(nearest, minlength=2).min() > 200
