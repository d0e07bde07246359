"""Photos in folders, and what happens to the unusable ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from same_sample import same_sample

from facefact.faces import get_detector
from facefact.train.material.photos import FolderSource
from facefact.types import UserError
from facefact.world import look, person, render

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[4] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"


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
    wide[:, 150:278] = render(person(4), look(4, glasses="none", pose="front")).image
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
    assert same_sample(made, again)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_picture_on_its_side_is_learned_upright(folder: Path, detector, turn: int) -> None:
    shown = render(person(4), look(4, glasses="none", pose="front"), size=160).image
    Image.fromarray(shown).save(folder / "p2" / "upright.png")
    Image.fromarray(np.rot90(shown, turn)).save(folder / "p2" / "lying.png")
    source = FolderSource(folder, detector=detector)
    upright, lying = (
        source.sample(i, 128)
        for name in ("upright.png", "lying.png")
        for i, one in enumerate(source.pictures)
        if one.path.name == name
    )
    assert upright is not None
    assert lying is not None
    np.testing.assert_array_equal(lying.image, upright.image)
    np.testing.assert_allclose(lying.face, upright.face, atol=0.01)
    assert np.abs(lying.head.astype(int) - upright.head).mean() < 1


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
