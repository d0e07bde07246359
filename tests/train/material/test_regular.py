"""Pictures without a person: which are taken, how they take their place in a batch, and that it is the same again."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import SIZE, filled, frozen
from PIL import Image

from facefact.train.losses.diffusion import eyes_and_mouth
from facefact.train.material.cache import Cache
from facefact.train.material.conditions import batches
from facefact.train.material.encode import encode_text, token_ids
from facefact.train.material.fill import fill
from facefact.train.material.regular import NOBODY, RegularSource, check_shapes, regular_sample, with_regular
from facefact.train.material.sources import open_regular
from facefact.train.settings import Condition, Data, Regular
from facefact.types import UserError
from facefact.world import look, person, render

COUNT = 6


def landscape(number: int, *, height: int = 96, width: int = 128) -> Image.Image:
    """Sky over a meadow, a little different each."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = (120, 160, 200 + number), (60, 130 - number, 50)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Captioned pictures; and three that cannot be used."""
    folder = tmp_path_factory.mktemp("regular")
    for number in range(COUNT):
        landscape(number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a meadow, number {number}")
    landscape(40).save(folder / "uncaptioned.png")
    Image.fromarray(render(person(3), look(3, glasses="none", pose="front")).image).save(folder / "somebody.png")
    (folder / "somebody.txt").write_text("a person")
    landscape(39, height=20, width=30).save(folder / "tiny.png")
    (folder / "tiny.txt").write_text("a small meadow")
    return folder


@pytest.fixture(scope="module")
def detector():
    from facefact.faces import get_detector

    return get_detector("avatar")


@pytest.fixture(scope="module")
def parts():
    return frozen()


@pytest.fixture(scope="module")
def people(parts, tmp_path_factory) -> Cache:
    return filled(tmp_path_factory.mktemp("people"), parts)


@pytest.fixture(scope="module")
def regular(folder, detector, parts, tmp_path_factory) -> Cache:
    source = RegularSource(folder, detector=detector)
    return Cache.open(fill(source, parts, tmp_path_factory.mktemp("cache"), size=SIZE, progress=False))


def test_what_has_a_face_or_no_words_is_left_out(regular) -> None:
    assert regular.counts()["usable"] == COUNT
    why = {one["picture"]: one["reason"] for one in regular.left_out}
    assert set(why) == {"uncaptioned.png", "somebody.png", "tiny.png"}
    assert "no caption" in why["uncaptioned.png"]
    assert "a face is in it" in why["somebody.png"]
    assert "pixels" in why["tiny.png"] or "small" in why["tiny.png"]


def test_nothing_of_such_a_picture_is_face(regular) -> None:
    batch = regular.gather(np.arange(COUNT))
    assert not batch["face"].any()
    assert not batch["head_mask"].any()
    assert not eyes_and_mouth(batch["head_to_picture"], (8, 8), 8.0).any()
    made = regular_sample(np.asarray(landscape(1)), (48, 80), "a meadow, on the left")
    assert made.image.shape == (48, 80, 3)
    assert made.original == (96, 128)
    assert made.crop == (6, 0)  # 77 of 96 rows, about the middle, scaled by 80 / 128


def test_the_same_pictures_in_a_webdataset_are_the_same(folder, detector, tmp_path) -> None:
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        for number in range(COUNT):
            for suffix in ("png", "txt"):
                content = (folder / f"{number}.{suffix}").read_bytes()
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    in_tar = RegularSource(tmp_path / "shard-0.tar", detector=detector)
    assert set(in_tar.keys()) <= set(RegularSource(folder, detector=detector).keys())
    assert len(in_tar.keys()) == COUNT


# In a batch


def mixed(people: Cache, regular: Cache, *, share: float = 0.3, batch: int = 12, **more):
    how = {"batch": batch, "seed": 5, **more}
    return with_regular(
        batches(lambda step: people, Condition(text_drop=0.5), **how), lambda step: regular, share, **how
    )


def test_a_share_of_the_pictures_with_their_own_words_and_somebodys_face(people, regular, parts) -> None:
    plain = batches(lambda step: people, Condition(text_drop=0.5), batch=12, seed=5)
    known = regular.gather(np.arange(COUNT))["latents"]
    words = encode_text(parts, [f"a meadow, number {number}" for number in range(COUNT)])[0]
    counted = []
    for number in range(40):
        one, before = next(mixed(people, regular)(number)), next(plain(number))
        rows = one["regular"]
        counted.append(rows.float().mean())
        assert (one["person"] == NOBODY).equal(rows)
        for name in ("latents", "face", "text", "time_ids"):  # the others are what they were
            assert torch.equal(one[name][~rows], before[name][~rows]), name
        for name in ("tokens", "face_dropped"):  # and the face is somebody's everywhere
            assert torch.equal(one[name], before[name]), name
        for latents, text in zip(one["latents"][rows], one["text"][rows], strict=True):
            which = int((known - latents).square().flatten(1).sum(1).argmin())
            assert torch.equal(known[which], latents)
            torch.testing.assert_close(text, words[which], atol=2e-3, rtol=2e-3)  # never dropped
    assert np.mean(counted) == pytest.approx(0.3, abs=0.06)


def test_drawn_from_seed_and_number_alone_for_all_processes_together(people, regular) -> None:
    alone = [next(mixed(people, regular)(number)) for number in (7, 8)]
    stream = mixed(people, regular)(7)
    for one in alone:
        again = next(stream)
        assert all(torch.equal(one[name], again[name]) for name in one)
    halves = [next(mixed(people, regular, batch=6, rank=rank, processes=2)(7)) for rank in (0, 1)]
    assert all(torch.equal(alone[0][name], torch.cat([half[name] for half in halves])) for name in ("latents", "text"))


def test_a_live_text_model_reads_their_words(people, regular, parts) -> None:
    tokenize = lambda captions: token_ids(parts, captions)  # noqa: E731
    one = next(mixed(people, regular, tokenize=tokenize)(3))
    expected = {tuple(ids) for ids in tokenize([f"a meadow, number {number}" for number in range(COUNT)]).tolist()}
    assert one["regular"].any()
    assert {tuple(ids) for ids in one["ids"][one["regular"]].tolist()} <= expected


def test_every_shape_of_the_people_must_be_there(regular, people) -> None:
    check_shapes(regular, people)
    wide = people.take(np.arange(len(people)))
    wide.shapes = np.tile([48, 80], (len(people), 1))
    with pytest.raises(UserError, match="none is cut to 80x48"):
        check_shapes(regular, wide)


def test_buckets_get_pictures_of_any_proportions(folder, detector) -> None:
    source = RegularSource(folder, aspect=2.0, multiple=16, detector=detector)
    shapes = {made.image.shape[:2] for i in range(len(source.keys())) if (made := source.sample(i, 64)) is not None}
    assert len(shapes) > 1
    assert all(height % 16 == width % 16 == 0 for height, width in shapes)


def test_settings() -> None:
    assert open_regular(Data(), multiple=8) is None
    with pytest.raises(UserError, match=r"data\.regular\.source: there is nothing at"):
        open_regular(Data(regular=Regular("no/such/folder")), multiple=8)
    with pytest.raises(UserError, match=r"data\.regular\.share must be above 0"):
        Data(regular=Regular("x", share=0.0)).check()
