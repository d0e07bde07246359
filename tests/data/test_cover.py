"""Masks of face and head; hands and objects over a face."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from candidates import avatars, candidate, decoded, portrait
from facefact.data.clock import Clock
from facefact.data.cover import Cover, covered, masks, open_covers
from facefact.data.parsing import Parsing, covering_classes
from facefact.data.prepare_config import CoverSettings
from facefact.data.records import Candidate, Masks, Unfit
from facefact.data.skin import Skin
from facefact.faces import Detector, open_picture
from facefact.faces.mediapipe import available
from facefact.types import Face, UserError

SHARED = Path(os.environ.get("FACEFACT_SHARED") or Path(__file__).parents[3] / "shared")
PHOTOS = SHARED / "data" / "lfw_small"
NOTHING = CoverSettings(hands="off", skin=None)


def seen(pixels: np.ndarray) -> tuple[Candidate, Masks]:
    one = candidate(pixels)
    return one, masks(one, avatars())


# Masks


def test_the_face_lies_in_the_head_and_the_crop_is_black_outside_it() -> None:
    one, found = seen(portrait())
    assert found.face.shape == found.head.shape == (256, 256)
    assert (found.face & found.head).sum() > 0.95 * found.face.sum()
    assert found.head.sum() > found.face.sum()
    assert all(found.face[int(y), int(x)] for x, y in one.face.landmarks)
    assert found.crop.shape == (112, 112, 3)
    assert (found.crop.sum(2) == 0).mean() > 0.02
    assert found.crop[40:90, 40:72].any()


def moved(one: Candidate, x: float) -> Candidate:
    """The same face, `x` pixels further right."""
    left, top, right, bottom = one.face.box
    face = replace(
        one.face,
        box=(left + x, top, right + x, bottom),
        landmarks=one.face.landmarks + np.array([x, 0], np.float32),
        oval=None if one.face.oval is None else one.face.oval + np.array([x, 0], np.float32),
    )
    return replace(one, face=face)


@dataclass
class Headless:
    """A detector whose head masks are empty."""

    name: str = "headless"
    licence: str = ""

    def detect(self, picture: np.ndarray) -> list[Face]:
        return avatars().detect(picture)

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.zeros(picture.shape[:2], bool)


@pytest.mark.parametrize("oval", [True, False], ids=["outline", "box"])
def test_a_face_that_the_edge_cuts_is_refused(oval: bool) -> None:
    one = candidate(portrait())
    one = one if oval else replace(one, face=replace(one.face, oval=None))
    masks(one, avatars())
    with pytest.raises(Unfit, match="masks: outside") as caught:
        masks(moved(one, 120), avatars())
    assert caught.value.face is not None


def test_a_head_that_does_not_hold_the_face_is_refused() -> None:
    with pytest.raises(Unfit, match="masks: no head"):
        masks(candidate(portrait()), Headless())


# The sum


@dataclass
class Says:
    """A cover that always sees the same."""

    value: float
    reason: str = "object"
    name: str = "says"
    licence: str = ""

    def share(self, candidate: Candidate, masks: Masks) -> float:
        return self.value


def test_who_sees_most_decides() -> None:
    one, found = seen(portrait())
    assert covered(one, found, [], CoverSettings()) == 0
    assert covered(one, found, [Says(0.02), Says(0.1), Says(0.05)], CoverSettings(max_covered=0.1)) == 0.1
    covers: list[Cover] = [Says(0.2), Says(0.3, "hand", "fingers")]
    with pytest.raises(Unfit, match=r"cover: hand \(30% of the face is hidden \(fingers\); up to 10%"):
        covered(one, found, covers, CoverSettings(max_covered=0.1))


def test_the_settings_choose_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_covers(NOTHING) == []
    assert [one.name for one in open_covers(CoverSettings(hands="off"))] == ["skin colour"]
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    for wanted in ("on", "always"):
        with pytest.raises(UserError, match=r"facefact\[faces\]"):
            open_covers(CoverSettings(hands=wanted, skin=None))  # type: ignore[arg-type]


@pytest.mark.skipif(not available(), reason="MediaPipe is not installed (extra: faces)")
def test_hands_are_looked_for_where_mediapipe_is() -> None:
    (hands,) = open_covers(replace(NOTHING, hands="auto"))
    assert hands.reason == "hand"
    assert "Apache" in hands.licence


# Skin


def patched(pixels: np.ndarray, colour: tuple[int, int, int], *, part: float = 0.5) -> np.ndarray:
    """A flat colour over the right side of the face, from its middle on."""
    x0, _, x1, _ = candidate(pixels).face.box
    hidden = pixels.copy()
    hidden[:, round(x0 + part * (x1 - x0)) :] = colour
    return hidden


@pytest.mark.parametrize("who", [1, 2, 3, 4])
def test_bare_faces_have_one_colour(who: int) -> None:
    assert Skin(22).share(*seen(portrait(who))) < 0.05


@pytest.mark.parametrize("colour", [(30, 80, 200), (230, 230, 240), (20, 120, 40)], ids=["blue", "white", "green"])
def test_a_patch_of_another_colour_is_an_object(colour: tuple[int, int, int]) -> None:
    pixels = portrait(3)
    one, found = seen(pixels)
    hidden = replace(one, picture=decoded(patched(pixels, colour, part=0.7)))
    assert 0.1 < Skin(22).share(hidden, found) < 0.5
    with pytest.raises(Unfit, match="cover: object"):
        covered(hidden, found, open_covers(CoverSettings(hands="off")), CoverSettings())


def test_more_patch_more_share() -> None:
    pixels = portrait(3)
    one, found = seen(pixels)
    parts = [replace(one, picture=decoded(patched(pixels, (30, 80, 200), part=part))) for part in (0.9, 0.75, 0.6)]
    shares = [Skin(22).share(part, found) for part in parts]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0] + 0.1


def test_shadow_and_grey_are_no_objects() -> None:
    pixels = portrait(3)
    one, found = seen(pixels)
    shade = pixels.copy()
    shade[:, 128:] = (shade[:, 128:] * 0.6).astype(np.uint8)
    grey = np.repeat(cv2.cvtColor(patched(pixels, (30, 80, 200)), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    for other in (shade, grey):
        assert Skin(22).share(replace(one, picture=decoded(other)), found) < 0.05


def test_too_little_skin_to_compare_says_nothing() -> None:
    one, found = seen(portrait(3))
    assert Skin(0).share(one, replace(found, face=np.zeros_like(found.face))) == 0
    assert Skin(0).share(one, found) > 0.5


# Hands, on photos


@cache
def for_photos() -> tuple[Detector, Cover]:
    from facefact.data.hands import Hands
    from facefact.faces import get_detector

    return get_detector("mediapipe"), Hands()


def hand_share(name: str) -> float:
    if not available():
        pytest.skip("MediaPipe is not installed (extra: faces)")
    path = PHOTOS / name.rpartition("_")[0] / f"{name}.jpg"
    if not path.is_file():
        pytest.skip("no photos of faces: name the folder above data/lfw_small in FACEFACT_SHARED")
    detector, hands = for_photos()
    one = candidate(open_picture(path), detector)
    return hands.share(one, masks(one, detector))


def test_a_fist_before_the_chin_is_a_hand_and_a_bare_face_is_none() -> None:
    fist = hand_share("Hamid_Karzai_0006")
    assert 0.1 < fist < 0.4
    assert hand_share("Bill_Simon_0001") == 0
    assert hand_share("Hamid_Karzai_0006") == fist  # whatever was seen in between


def test_a_hand_beside_the_face_hides_little() -> None:
    assert hand_share("Luiz_Inacio_Lula_da_Silva_0006") < 0.02


def photo_and_face(name: str, **changes: Any) -> tuple[np.ndarray, Face]:
    """A photo, and its face with changes."""
    path = PHOTOS / name.rpartition("_")[0] / f"{name}.jpg"
    if not available() or not path.is_file():
        pytest.skip("MediaPipe and photos of faces (FACEFACT_SHARED) are needed")
    one = candidate(open_picture(path), for_photos()[0])
    return one.picture.pixels, replace(one.face, **changes)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"score": 0.96}, []),
        ({"score": 0.93}, ["first view"]),
        ({"score": 0.89}, ["first view", "other views"]),
        ({"score": 0.96, "backend": "yunet"}, ["first view", "other views"]),
    ],
)
def test_hands_are_looked_for_where_the_face_leaves_a_doubt(changes: dict[str, Any], asked: list[str]) -> None:
    from facefact.data.hands import Hands

    pixels, face = photo_and_face("Bill_Simon_0001", **changes)
    clock = Clock()
    assert not Hands(clock=clock).mask(pixels, face).any()
    assert list(clock.asked) == [f"cover: MediaPipe hands, {view}" for view in asked]


def test_a_palm_in_the_first_view_brings_the_others() -> None:
    from facefact.data.hands import Hands

    pixels, face = photo_and_face("Hamid_Karzai_0006", score=0.93)
    clock = Clock()
    hands = Hands(clock=clock)
    found = hands.mask(pixels, face)
    assert len(clock.asked) == 2
    np.testing.assert_array_equal(found, Hands(always=True).mask(pixels, replace(face, score=0.99)))


# Face parsing


LABELS = {0: "background", 1: "skin", 2: "eye_g", 3: "hair", 4: "hat", 5: "hand"}


def saved_segformer(directory: Path, *, always: int | None = None, labels: dict[int, str] | None = None) -> str:
    """A tiny SegFormer of random weights on disk; `always`: the one class it sees everywhere."""
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    model = SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 1, 1],
            decoder_hidden_size=8,
            id2label=labels or LABELS,
            label2id={name: i for i, name in (labels or LABELS).items()},
        )
    )
    if always is not None:
        torch.nn.init.zeros_(model.decode_head.classifier.weight)
        model.decode_head.classifier.bias.data = torch.eye(len(labels or LABELS))[always]
    model.save_pretrained(directory)
    form = {"do_resize": True, "size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (directory / "preprocessor_config.json").write_text(json.dumps({**form, "rescale_factor": 1 / 255}))
    (directory / "README.md").write_text("---\nlicense: mit\n---\n# A parser of faces\n")
    return str(directory)


def test_the_names_of_classes_say_what_hides() -> None:
    names = {**LABELS, 6: "face_mask", 7: "handle", 8: "sunglasses", 9: "Occlusion", 10: "neck"}
    assert covering_classes(names) == [0, 4, 5, 6, 9]


@pytest.mark.parametrize(("always", "share"), [(5, 1.0), (0, 1.0), (1, 0.0), (2, 0.0), (3, 0.0)])
def test_the_share_of_the_face_in_classes_that_hide(tmp_path: Path, always: int, share: float) -> None:
    parsing = Parsing(saved_segformer(tmp_path, always=always), offline=True)
    assert parsing.licence == "mit"
    assert parsing.side == 64
    assert parsing.share(*seen(portrait())) == share


def test_parsing_is_resized_and_normalised_as_its_own_processor_does(tmp_path: Path) -> None:
    """The classes by hand equal those of the whole chain of transformers, where that needs no torchvision."""
    import torch
    from transformers import SegformerForSemanticSegmentation

    name = saved_segformer(tmp_path)
    view = cv2.resize(portrait(), (64, 64), interpolation=cv2.INTER_AREA)
    model = SegformerForSemanticSegmentation.from_pretrained(name).eval()
    values = torch.from_numpy((view / 255.0 - 0.5) / 0.5).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        logits = model(pixel_values=values).logits
    expected = torch.nn.functional.interpolate(logits, size=(64, 64), mode="bilinear").argmax(1)[0].numpy()
    np.testing.assert_array_equal(Parsing(name, offline=True).classes(view), expected)
    assert len(np.unique(expected)) > 1


def test_a_model_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"hands": "off", "skin": None}
    for name in (str(tmp_path / "absent"), str(tmp_path)):
        with pytest.raises(UserError, match=r"^[^\n]+$"):
            open_covers(CoverSettings(**settings, parsing=name), offline=True)
    unnamed = saved_segformer(tmp_path / "unnamed", labels={0: "LABEL_0", 1: "LABEL_1"})
    with pytest.raises(UserError, match="names nothing that hides a face"):
        open_covers(CoverSettings(**settings, parsing=unnamed), offline=True)
