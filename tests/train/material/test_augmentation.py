"""Views of photos: where points go, what a mirror changes, shapes of equal area; drawn from seed, key and number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from same_sample import same_sample

from facefact.faces.align import align, alignment, transform
from facefact.metrics.views import to_pixels
from facefact.train.material.augmentation import (
    Views,
    buckets,
    jittered_condition,
    mirrored,
    moved_cut,
    nearest,
    sides_exchanged,
    view_of,
)
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.conditions import choose, others
from facefact.train.material.encode import encode_pictures
from facefact.train.material.fill import fill
from facefact.train.material.photos import FolderSource
from facefact.train.material.square import Photo, cut_around
from facefact.train.settings import Augment, BaseModel, Condition, Data, NewAdapter
from facefact.types import UserError
from facefact.world import look, person, render

ALL = Augment(views=6, zoom=1.8, shift=0.3, flip=0.5, landmarks=0.05, blur=1.5, jpeg=40)
STILL = Augment(views=2, zoom=1.0, shift=0.0, flip=0.0, landmarks=0.0, blur=0.0, jpeg=100)


def photo(*, height: int = 128, width: int = 240, at: int = 70) -> Photo:
    """A rendered person in a wider picture, with the truth of the world."""
    drawn = render(person(5), look(5, glasses="none", pose="front"))
    pixels = np.full((height, width, 3), 90, np.uint8)
    face, head = np.zeros((height, width), bool), np.zeros((height, width), bool)
    pixels[:, at : at + 128], face[:, at : at + 128], head[:, at : at + 128] = drawn.image, drawn.face, drawn.head
    landmarks = (drawn.landmarks + [at, 0]).astype(np.float32)
    ys, xs = np.nonzero(face)
    box = tuple(map(float, (xs.min(), ys.min(), xs.max(), ys.max())))
    condition = align(pixels * head[..., None], landmarks)[0]
    return Photo(pixels, face, head, box, landmarks, condition, "a man, a hat on the left", "p", 12.0)  # type: ignore[arg-type]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# Where it is cut


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (80, 48)])
def test_zoom_and_shift_keep_the_face_whole_and_tell_where_it_went(shape) -> None:
    """Face, landmarks and what SDXL reads of the cut follow: a point is where the scaled picture, less what was cut
    off, has it; and the mask is what the truth's mask is there."""
    one, shares = photo(), []
    for seed in range(40):
        made = view_of(one, shape, replace(ALL, flip=0.0), rng(seed))
        assert made.image.shape[:2] == made.face.shape == shape
        inside = (made.landmarks >= 0) & (made.landmarks <= np.array(shape[::-1]) - 1)
        assert inside.all()
        scale = float(np.linalg.norm(made.landmarks[1] - made.landmarks[0])) / float(
            np.linalg.norm(one.landmarks[1] - one.landmarks[0])
        )
        told = (one.landmarks + 0.5) * scale - 0.5 - np.array(made.crop[::-1])
        np.testing.assert_allclose(told, made.landmarks, atol=1.5)
        assert made.original == one.shape
        whole = one.face.sum() * scale**2  # all of the face is in the cut
        assert made.face.sum() == pytest.approx(whole, rel=0.06)
        assert made.face_size == pytest.approx(made.face.mean(), abs=1e-6)
        shares.append(made.face_size)
    plain = cut_around(one.box, one.shape, shape)
    assert max(shares) > 1.1 * min(shares)  # (in the narrowest one the face leaves little room)
    assert min(shares) >= 0.95 * one.face[plain].mean()


def test_a_view_without_any_change_is_the_photo() -> None:
    one = photo()
    made, whole = (view_of(one, (64, 64), STILL, rng(seed)) for seed in (0, 1))
    assert same_sample(made, whole)
    assert moved_cut(one, (64, 64), STILL, rng(0)) == cut_around(one.box, one.shape, (64, 64))
    np.testing.assert_array_equal(made.landmarks, whole.landmarks)
    assert np.abs(made.head.astype(int) - one.condition).mean() < 1.0  # the rounding at the head's edge


def test_no_pixel_grows_beyond_twice_its_size() -> None:
    one = photo(height=128, width=128, at=0)
    small = replace(one, box=(60.0, 60.0, 68.0, 68.0))
    for seed in range(20):
        cut = moved_cut(small, (128, 128), replace(ALL, zoom=4.0), rng(seed))
        assert cut[0].stop - cut[0].start >= 64


def test_shapes_have_the_area_of_the_square_and_sides_that_the_model_can_have() -> None:
    shapes = buckets(512, 2.0, 64)
    assert (512, 512) in shapes
    assert shapes == sorted(shapes, key=lambda one: one[1] / one[0])
    assert {(b, a) for a, b in shapes} == set(shapes)
    for height, width in shapes:
        assert height % 64 == width % 64 == 0
        assert 0.75 * 512**2 < height * width <= 512**2
        assert 0.5 <= height / width <= 2
    assert buckets(512, 1.0, 64) == [(512, 512)]
    assert nearest(shapes, (1000, 1000)) == (512, 512)
    tall = nearest(shapes, (3000, 2000))
    assert tall[0] / tall[1] == pytest.approx(1.5, abs=0.2)


# In a mirror


def test_a_mirror_turns_everything_along() -> None:
    one = photo()
    turned = mirrored(one)
    assert np.array_equal(turned.pixels, one.pixels[:, ::-1])
    again = mirrored(turned)
    for name in ("pixels", "face", "head", "landmarks"):
        np.testing.assert_allclose(getattr(again, name), getattr(one, name))
    assert (again.box, again.caption, again.yaw) == (one.box, one.caption, one.yaw)
    assert turned.landmarks[0, 0] < turned.landmarks[1, 0]  # the eye at the picture's left is still the first
    assert turned.landmarks[3, 0] < turned.landmarks[4, 0]
    assert turned.caption == "a man, a hat on the right"
    assert turned.yaw == -12.0
    inside = turned.landmarks.round().astype(int)
    assert turned.face[inside[:, 1], inside[:, 0]].all()
    left, top, right, bottom = turned.box
    ys, xs = np.nonzero(turned.face)
    assert (left, top, right, bottom) == (xs.min(), ys.min(), xs.max(), ys.max())


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        ("looking to the left, light from the right", "looking to the right, light from the left"),
        ("Left hand raised, LEFT-handed", "Right hand raised, RIGHT-handed"),
        ("bright light, upright, a copyright sign", "bright light, upright, a copyright sign"),
        ("he has left the room on the left", "he has left the room on the right"),
        ("the man on the right behind her", "the man on the left behind her"),
        ("right behind her, looking leftwards", "right behind her, looking rightwards"),
        ("all right", "all right"),
    ],
)
def test_words_that_name_sides(caption, other) -> None:
    assert sides_exchanged(caption) == other
    assert sides_exchanged(other) == caption


def test_half_of_the_views_are_mirrored_and_their_captions_say_so() -> None:
    one = photo()
    made = [view_of(one, (64, 64), replace(STILL, flip=0.5), rng(seed)) for seed in range(60)]
    turned = [sample.yaw < 0 for sample in made]
    assert 18 < sum(turned) < 42
    assert all(("right" in sample.caption) == flag for sample, flag in zip(made, turned, strict=True))


# The condition


def test_the_condition_is_off_by_as_much_as_is_said() -> None:
    """Landmarks moved by a spread of so many eye distances, at most and mostly less."""
    one = photo()
    eyes = np.linalg.norm(one.landmarks[1] - one.landmarks[0])
    true = transform(one.landmarks, alignment(one.landmarks))
    off = []
    for seed in range(200):
        draw = rng(seed)
        jitter = draw.normal(0, 0.05 * eyes, one.landmarks.shape) * draw.random()
        seen = transform(one.landmarks, alignment(one.landmarks + jitter))
        off.append(np.abs(seen - true).mean() / 35.24)  # eye distance in the 112 px template
    assert 0.003 < np.mean(off) < 0.04
    made = [jittered_condition(one, replace(STILL, landmarks=0.05), rng(seed)) for seed in range(5)]
    assert len({one.tobytes() for one in made}) == 5


def test_blur_and_jpeg_take_detail_and_leave_the_outside_black() -> None:
    one = photo()
    noisy = replace(one, pixels=np.clip(one.pixels + rng(0).normal(0, 30, one.pixels.shape), 0, 255).astype(np.uint8))
    plain = jittered_condition(noisy, STILL, rng(0))
    detail = lambda crop: float(np.abs(np.diff(crop.astype(float), axis=1)).mean())  # noqa: E731
    for changed in (replace(STILL, blur=3.0), replace(STILL, jpeg=5)):
        made = [jittered_condition(noisy, changed, rng(seed)) for seed in range(40)]
        touched = [not np.array_equal(one, plain) for one in made]
        assert 8 < sum(touched) < 32  # half of them
        assert np.mean([detail(one) for one in made]) < 0.95 * detail(plain)
        assert all(not one[~plain.any(2)].any() for one in made)


# As a source


@pytest.fixture
def photos(folder: Path, detector) -> FolderSource:
    """Two people, wide and square pictures, one of them without a face."""
    wide = np.full((128, 200, 3), 90, np.uint8)
    wide[:, 40:168] = render(person(1), look(31, glasses="none", pose="front")).image
    Image.fromarray(wide).save(folder / "p1" / "wide.png")
    return FolderSource(folder, detector=detector)


def views(source: FolderSource, *, seed: int = 3, aspect: float = 1.0, settings: Augment = ALL) -> Views:
    return Views(source, settings, seed, aspect=aspect, multiple=16)


def test_views_are_drawn_from_seed_key_and_number_alone(photos, folder, detector) -> None:
    one, again, other = views(photos), views(photos), views(photos, seed=4)
    index = [i for i, key in enumerate(one.keys()) if one.sample(i, 64) is not None]
    assert len(index) == 5 * ALL.views
    assert all(same_sample(one.sample(i, 64), again.sample(i, 64)) for i in reversed(index))  # in any order
    different = [not same_sample(one.sample(i, 64), other.sample(i, 64)) for i in index]
    assert sum(different) >= 0.9 * 5 * (ALL.views - 1)
    for first in index[:: ALL.views]:
        assert same_sample(one.sample(first, 64), photos.sample(first // ALL.views, 64))
    keys = dict(zip(one.keys(), range(len(one.keys())), strict=True))
    Image.fromarray(render(person(9), look(9)).image).save(folder / "p1" / "a_new_first.png")
    grown = views(FolderSource(folder, detector=detector))
    for i, key in enumerate(grown.keys()):
        if key in keys and keys[key] in index[:6]:
            assert same_sample(grown.sample(i, 64), one.sample(keys[key], 64))


def filled(source: Views, folder: Path):
    frozen = open_frozen(BaseModel(source="random:tiny"), NewAdapter(encoder="random:tiny"), bundle=Path("nowhere"))
    return frozen, Cache.open(fill(source, frozen, folder, size=64, progress=False))


def test_views_through_the_cache(photos, tmp_path) -> None:
    """Latents of each shape are its own; a view is no other picture of the person; the unusable are counted once."""
    source = views(photos, aspect=2.0)
    frozen, cache = filled(source, tmp_path / "cache")
    assert cache.counts()["usable"] == 5
    assert len(cache) == 5 * ALL.views
    assert len(cache.left_out) == len(photos.pictures) - 5
    assert cache.first_views.sum() == 5
    shapes = {tuple(one) for one in cache.shapes.tolist()}
    assert shapes == {(64, 64), (48, 80)}
    numbers = {key: i for i, key in enumerate(source.keys())}
    for shape in shapes:
        rows = np.flatnonzero((cache.shapes == shape).all(1))[:3]
        samples = [source.sample(numbers[cache.keys[row]], 64) for row in rows]
        batch = cache.gather(rows)
        latents = encode_pictures(frozen, torch.stack([to_pixels(one.image) for one in samples]))
        torch.testing.assert_close(batch["latents"], latents, atol=2e-3, rtol=2e-3)
        assert batch["face"].shape[1:] == latents.shape[2:]
        shares = [float(one.face.mean()) for one in samples]
        np.testing.assert_allclose(batch["face"].mean((1, 2)), shares, atol=3e-3)
        assert batch["time_ids"][:, 4:].tolist() == [list(shape)] * len(rows)
    mixed = np.array([int(np.flatnonzero((cache.shapes == shape).all(1))[0]) for shape in shapes])
    with pytest.raises(ValueError, match="several shapes"):
        cache.gather(mixed)
    for row in range(len(cache)):
        assert cache.photos[row] not in cache.photos[others(cache.people, row, Condition(), gap=180)]


def test_a_batch_has_one_shape_and_each_shape_its_share(photos, tmp_path) -> None:
    _, cache = filled(views(photos, aspect=2.0), tmp_path / "cache")
    wide = (cache.shapes == (48, 80)).all(1)
    drawn = [choose(cache.people, Condition(), step=0, batch=4, rng=rng(seed)).target for seed in range(300)]
    shapes = [wide[target] for target in drawn]
    assert all(one.all() or not one.any() for one in shapes)
    assert np.mean([one.all() for one in shapes]) == pytest.approx(wide.mean(), abs=0.08)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(source="people", augment=Augment(zoom=1.5)), "views=1 is the photo as it is"),
        (Data(source="people", augment=Augment(views=3)), "need something in which they differ"),
        (Data(source="people", augment=Augment(views=3, flip=1.5)), r"data\.augment\.flip: 1\.5 lies outside"),
        (Data(augment=Augment(views=3, flip=0.5)), "are for photos"),
        (Data(aspect=2.0), "are for photos"),
        (Data(source="people", aspect=0.5), r"data\.aspect: 0\.5 lies outside"),
    ],
)
def test_what_makes_no_sense_is_refused(data, message) -> None:
    with pytest.raises(UserError, match=message):
        data.check()
