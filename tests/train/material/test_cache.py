"""The cache: what comes out is what would be computed, however it was filled, interrupted, damaged or shared."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from facefact.faces import get_detector
from facefact.faces.align import alignment, inverse
from facefact.metrics.views import to_pixels
from facefact.train.material import fill as filling
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.encode import encode_faces, encode_pictures, encode_text
from facefact.train.material.fill import disk_errors, fill
from facefact.train.material.frozen import Frozen
from facefact.train.material.photos import FolderSource
from facefact.train.material.world import WorldSource
from facefact.train.settings import BaseModel, NewAdapter
from facefact.types import UserError
from facefact.world import look, person, render

SIZE = 32
PEOPLE, LOOKS = 5, 2


def opened(name: str) -> Frozen:
    return open_frozen(BaseModel(source=f"random:{name}"), NewAdapter(encoder="random:tiny"), bundle=Path("/nowhere"))


@pytest.fixture(scope="module")
def frozen() -> Frozen:
    return opened("tiny")


@pytest.fixture(scope="module")
def source() -> WorldSource:
    return WorldSource(PEOPLE, LOOKS, 0)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "SHARD", 4)


@pytest.fixture(scope="module")
def filled(tmp_path_factory, source, frozen) -> Path:
    """The set's file: shards of 4, 4 and 2."""
    patch = pytest.MonkeyPatch()
    patch.setattr(filling, "SHARD", 4)
    index = fill(source, frozen, tmp_path_factory.mktemp("cache"), size=SIZE, progress=False)
    patch.undo()
    return index


@pytest.fixture
def copied(filled: Path, tmp_path: Path) -> Path:
    """One's own copy of it, to be damaged."""
    shutil.copytree(filled.parent, tmp_path / filled.parent.name)
    return tmp_path / filled.parent.name / filled.name


def shards(index: Path) -> list[Path]:
    return [index.parent / name for name in json.loads(index.read_text())["shards"]]


def times(index: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in shards(index)}


def contents(index: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in shards(index)}


# What is in it


def test_what_is_gathered_is_what_would_be_computed(filled, source, frozen) -> None:
    data, index = Cache.open(filled), np.array([9, 0, 4, 4])
    samples = [source.sample(int(i), SIZE) for i in index]
    made = data.gather(index)
    latents = encode_pictures(frozen, torch.stack([to_pixels(one.image) for one in samples]))
    tokens = encode_faces(frozen, torch.stack([to_pixels(one.head) for one in samples]))
    close = lambda a, b: torch.testing.assert_close(a, b.float(), atol=2e-3, rtol=2e-3)  # noqa: E731
    close(made["latents"], latents)
    close(data.tokens_of(index), tokens)
    close(data.text_of(index)["text"], encode_text(frozen, [one.caption for one in samples])[0])
    close(data.empty_text()["text"], encode_text(frozen, [""])[0])
    cells = torch.stack([torch.from_numpy(one.face) for one in samples]).unflatten(1, (4, 8)).unflatten(3, (4, 8))
    torch.testing.assert_close(made["face"], cells.mean((2, 4)), atol=1 / 255, rtol=0)
    assert made["time_ids"].tolist() == [[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 4
    heads = torch.stack([torch.from_numpy(one.head) for one in samples])
    assert not heads[~made["head_mask"]].any()
    assert 0.3 < float(made["head_mask"].float().mean()) < 0.9
    places = [inverse(alignment(one.landmarks)) for one in samples]
    torch.testing.assert_close(made["head_to_picture"], torch.from_numpy(np.stack(places)).float())
    assert {name for name, value in made.items() if value.dtype != torch.float32} == {"head_mask"}


def test_what_is_known_of_each_sample(filled, source) -> None:
    data = Cache.open(filled)
    samples = [source.sample(i, SIZE) for i in range(PEOPLE * LOOKS)]
    assert len(data) == PEOPLE * LOOKS
    assert data.keys == list(source.keys())
    assert [data.person_names[i] for i in data.persons] == [one.person for one in samples]
    for name in ("yaw", "light", "face_size"):
        np.testing.assert_allclose(getattr(data, name), [getattr(one, name) for one in samples], rtol=1e-6)
    assert [data.phrases(i) for i in range(len(data))] == [one.phrases for one in samples]
    assert data.counts() == {"usable": 10, "persons": 5, "persons_of_one_picture": 0, "left_out": {}}


def test_a_large_cache_is_read_from_the_disk_as_from_memory(filled) -> None:
    memory, disk = Cache.open(filled), Cache.open(filled, memory=0)
    index = np.array([3, 9, 0, 3, 5])
    for a, b in ((memory, disk), (memory, pickle.loads(pickle.dumps(disk)))):
        assert torch.equal(a.tokens_of(index), b.tokens_of(index))
        assert torch.equal(a.text_of(index)["text"], b.text_of(index)["text"])
        assert all(torch.equal(value, b.gather(index)[name]) for name, value in a.gather(index).items())


def test_dropped_text_is_that_of_the_empty_prompt(filled) -> None:
    data, index = Cache.open(filled), np.array([0, 5])
    made = data.text_of(index, dropped=np.array([True, False]))["text"]
    assert torch.equal(made[0], data.empty_text()["text"][0])
    assert torch.equal(made[1], data.text_of(index)["text"][1])


def test_some_people_alone(filled) -> None:
    data = Cache.open(filled)
    rows = np.flatnonzero(data.persons >= 3)
    part = data.take(rows)
    assert len(part) == 4
    assert part.persons.tolist() == [3, 3, 4, 4]
    assert part.counts()["persons"] == 2
    index = np.array([2, 0])
    assert torch.equal(part.tokens_of(index), data.tokens_of(rows[index]))
    assert torch.equal(part.gather(index)["latents"], data.gather(rows[index])["latents"])
    assert part.phrases(2) == data.phrases(int(rows[2]))
    assert len(data) == 10


def test_sdxl_keeps_the_summary_too(tmp_path, source) -> None:
    parts = opened("tiny-xl")
    data = Cache.open(fill(source, parts, tmp_path, size=SIZE, progress=False))
    states, pooled = encode_text(parts, [source.sample(7, SIZE).caption])
    made = data.text_of(np.array([7, 1]), dropped=np.array([False, True]))
    torch.testing.assert_close(made["text"][:1], states, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(made["pooled"][:1], pooled, atol=2e-3, rtol=2e-3)
    assert torch.equal(made["pooled"][1], data.empty_text()["pooled"][0])
    assert made["text"].shape == (2, 77, 80)


def test_without_text_there_is_none(tmp_path, source, frozen, filled) -> None:
    index = fill(source, frozen, tmp_path, size=SIZE, text=False, progress=False)
    assert index.parent.name != filled.parent.name
    assert not any("text" in load_file(path) for path in shards(index))
    with pytest.raises(ValueError, match="without text"):
        Cache.open(index).text_of(np.array([0]))


# How it is filled


def test_two_processes_give_what_one_gives(filled, tmp_path, source, frozen) -> None:
    for rank in (1, 0):
        index = fill(source, frozen, tmp_path, size=SIZE, rank=rank, world_size=2, progress=False)
        assert sum(path.exists() for path in shards(index)) == (1 if rank else 3)
    assert contents(index) == contents(filled)


def test_a_half_filled_cache_goes_on(copied, filled, source, frozen) -> None:
    gone, kept, _ = shards(copied)
    gone.unlink()
    before = kept.stat().st_mtime_ns
    with pytest.raises(UserError, match=r"lacks .*: run the same command again"):
        Cache.open(copied)
    assert fill(source, frozen, copied.parent.parent, size=SIZE, progress=False) == copied
    assert kept.stat().st_mtime_ns == before
    assert contents(copied) == contents(filled)


@pytest.mark.parametrize("length", [0, 5, 300, -1])
def test_a_truncated_shard_is_made_again(copied, filled, source, frozen, length) -> None:
    path = shards(copied)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.raises(UserError, match="damaged"):
        Cache.open(copied)
    fill(source, frozen, copied.parent.parent, size=SIZE, progress=False)
    assert path.read_bytes() == whole
    (copied.parent / "empty.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        Cache.open(copied)


def test_an_interrupted_fill_leaves_whole_shards_alone(tmp_path, source, frozen, filled, monkeypatch) -> None:
    """Ctrl-C in the second shard: the first is there, nothing half-written beside it, and the rest follows."""
    real, seen = source.sample, []

    def interrupted(index: int, size: int):
        seen.append(index)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return real(index, size)

    monkeypatch.setattr(source, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(source, frozen, tmp_path, size=SIZE, progress=False)
    monkeypatch.undo()
    names = {path.name for path in (tmp_path / filled.parent.name).iterdir()}
    assert names == {filled.name, "empty.safetensors", shards(filled)[0].name}
    monkeypatch.setattr(filling, "SHARD", 4)
    assert contents(fill(source, frozen, tmp_path, size=SIZE, progress=False)) == contents(filled)


def test_a_filled_one_is_left_as_it_is_and_a_longer_set_shares_it(copied, frozen, source) -> None:
    before = times(copied)
    fill(source, frozen, copied.parent.parent, size=SIZE, progress=False)
    assert times(copied) == before
    longer = fill(WorldSource(PEOPLE + 1, LOOKS, 0), frozen, copied.parent.parent, size=SIZE, progress=False)
    assert longer.parent == copied.parent
    assert len(set(times(longer).items()) & set(before.items())) == 2  # all but the last shard
    assert len(Cache.open(longer)) == 12
    assert len(Cache.open(copied)) == 10  # the shorter set is still itself


def test_another_setting_is_another_cache(filled, source, frozen) -> None:
    name = lambda parts, size=SIZE: filling.fingerprint(  # noqa: E731
        filling.description(source, parts, size=size, text=True)
    )
    assert name(frozen) == filled.parent.name
    other = opened("tiny")
    with torch.no_grad():
        other.vae.encoder.conv_in.weight[0, 0, 0, 0] += 1e-3
    scaled = opened("tiny")
    scaled.vae.register_to_config(scaling_factor=0.5)
    assert len({name(frozen), name(other), name(scaled), name(frozen, 64)}) == 4


# Folders, and what cannot be used


def test_equal_captions_are_kept_once_and_the_unusable_are_noted(tmp_path, frozen) -> None:
    pictures = tmp_path / "pictures"
    for who in (1, 2):
        (pictures / f"p{who}").mkdir(parents=True)
        for shown in range(who, 3):
            one = look(10 * who + shown, glasses="none", pose="front")
            Image.fromarray(render(person(who), one).image).save(pictures / f"p{who}" / f"{shown}.png")
    (pictures / "p1" / "zero.jpg").write_bytes(b"")
    Image.new("RGB", (9, 9)).save(pictures / "p2" / "tiny.png")
    source = FolderSource(pictures, detector=get_detector("avatar"))
    index = fill(source, frozen, tmp_path / "cache", size=SIZE, progress=False)
    data = Cache.open(index)
    assert data.counts() == {
        "usable": 3,
        "persons": 2,
        "persons_of_one_picture": 1,
        "left_out": {"the file is empty": 1, "too few pixels": 1},
    }
    noted = [json.loads(line) for line in index.with_suffix(".left_out.jsonl").read_text().splitlines()]
    assert noted == data.left_out
    assert {one["picture"] for one in noted} == {"p1/zero.jpg", "p2/tiny.png"}
    first, second = map(load_file, shards(index))
    assert first["text_row"].tolist() == [0, 0, 0]
    assert len(first["text"]) == 1
    assert not second  # nothing usable in it
    assert torch.equal(data.text_of(np.array([0]))["text"], data.text_of(np.array([2]))["text"])


def test_no_usable_picture_at_all_is_one_line(tmp_path, frozen) -> None:
    (tmp_path / "pictures" / "p").mkdir(parents=True)
    (tmp_path / "pictures" / "p" / "zero.jpg").write_bytes(b"")
    source = FolderSource(tmp_path / "pictures", detector=get_detector("avatar"))
    index = fill(source, frozen, tmp_path / "cache", size=SIZE, progress=False)
    with pytest.raises(UserError, match="no picture is usable: 1 x the file is empty"):
        Cache.open(index)


def test_what_cannot_be_filled_is_said_in_one_line(tmp_path, source, frozen) -> None:
    with pytest.raises(UserError, match="no multiple of 8"):
        fill(source, frozen, tmp_path, size=30)
    for error in (OSError(errno.ENOSPC, "x"), SafetensorError("I/O error: No space left on device (os error 28)")):
        with pytest.raises(UserError, match="disk of .* is full"), disk_errors(tmp_path):
            raise error
    with pytest.raises(SafetensorError), disk_errors(tmp_path):
        raise SafetensorError("something else")
    broken = opened("tiny")
    broken.vae.register_to_config(scaling_factor=1e9)
    with pytest.raises(UserError, match="autoencoder"):
        fill(source, broken, tmp_path, size=SIZE, progress=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_gives_the_errors_that_are_looked_for(tmp_path) -> None:
    with pytest.raises(UserError, match="full"), disk_errors(tmp_path), open("/dev/full", "wb") as file:
        file.write(b"x" * 100000)
