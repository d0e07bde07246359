"""What the reader and the face detector are taught: only what can be seen, and where it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facefact.faces.avatar_net import AvatarNet, AvatarNetConfig
from facefact.metrics.reader import AttributeReader, ReaderConfig
from facefact.train.bundle import detector, reader
from facefact.train.material.world import softened
from facefact.world import CHOICES, look, person, render, training_seed, visible

FACTORS = {name: len(values) for name, values in CHOICES.items()}


def test_the_reader_is_not_asked_for_what_cannot_be_seen() -> None:
    batch = next(reader.batches(6, 24)(0))
    rng = np.random.default_rng((6, 0, 0))
    looks = [look(training_seed(rng)) for _ in range(24)]
    for name, values in CHOICES.items():
        wanted = [values.index(one[name]) if name in visible(one) else reader.UNSEEN for one in looks]
        assert batch[name].tolist() == wanted
    assert (batch["hair"] == reader.UNSEEN).any()
    assert (batch["scene"] != reader.UNSEEN).all()


def test_what_is_not_seen_does_not_count_for_the_reader() -> None:
    torch.manual_seed(0)
    stage = reader.ReaderStage(AttributeReader(ReaderConfig(FACTORS, widths=(8, 8, 8, 8), hidden=16)))
    batch = next(reader.batches(6, 4)(0))
    torch.manual_seed(1)
    blind = batch | {"hair": torch.tensor([0, reader.UNSEEN, reader.UNSEEN, reader.UNSEEN])}
    alone = {name: value[:1] for name, value in blind.items()}
    answers = stage.reader(batch["pixels"])["hair"]
    loss = torch.nn.functional.cross_entropy(answers, blind["hair"], ignore_index=reader.UNSEEN, label_smoothing=0.02)
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(answers[:1], alone["hair"], label_smoothing=0.02)
    )
    terms = stage(blind)
    assert torch.isfinite(terms["loss"])
    assert 0 <= float(terms["accuracy"]) <= 1


def test_one_picture_in_three_holds_no_avatar() -> None:
    batch = next(detector.batches(3, 9)(0))
    assert (batch["presence"][2::3] == 0).all()
    assert batch["pixels"].shape == (9, 3, 128, 128)
    there = batch["presence"] == 1
    assert there.sum() >= 4
    x0, y0, x1, y1 = batch["box"][there].T
    assert (x0 < x1).all()
    assert (y0 < y1).all()
    points = batch["landmarks"][there]
    assert ((points > 0) & (points < 1)).all()


def test_the_maps_are_where_the_landmarks_are() -> None:
    """Eyes and nose lie in the oval's map, in the cell that their coordinates say."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        _, truth = detector.avatar(rng)
        if truth["presence"]:
            column, row = (truth["landmarks"][:3] * 32).astype(int).T
            assert (truth["oval"][row, column] > 0.5).all()


def test_moving_the_picture_moves_the_landmarks(monkeypatch) -> None:
    """Landmarks of a shifted and zoomed render are the render's own, put through the same map."""
    kept = {}
    monkeypatch.setattr(detector, "render", lambda who, shown: kept.setdefault("drawn", render(who, shown)))
    rng = np.random.default_rng(11)
    _, truth = detector.avatar(rng)
    again = np.random.default_rng(11)
    person(training_seed(again)), look(training_seed(again))
    zoom = again.uniform(0.65, 1.35)
    shift = 64 * (1 - zoom) + again.uniform(-0.2, 0.2, 2) * 128
    wanted = (kept["drawn"].landmarks * zoom + shift + 0.5) / 128
    np.testing.assert_allclose(truth["landmarks"], wanted, atol=1e-6)


def test_the_detectors_stage_adds_up_its_terms() -> None:
    torch.manual_seed(0)
    stage = detector.DetectorStage(AvatarNet(AvatarNetConfig(widths=(8, 8, 16, 16), decoder=16, hidden=8)))
    terms = stage(next(detector.batches(3, 4)(0)))
    parts = [value for name, value in terms.items() if name != "loss"]
    torch.testing.assert_close(terms["loss"], torch.stack(parts).sum())


def test_clouds_and_blobs_are_pictures() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        picture = detector.no_avatar(rng)
        assert picture.shape == (128, 128, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 2


def test_softened_pictures_keep_their_brightness() -> None:
    image = render(person(1), look(2)).image
    means = [softened(image, np.random.default_rng(seed)).mean() for seed in range(20)]
    assert np.abs(np.array(means) - image.mean()).max() < 2


@pytest.mark.parametrize("half", [False, True])
def test_a_reader_comes_back_from_disk(tmp_path, half) -> None:
    torch.manual_seed(0)
    made = AttributeReader(ReaderConfig(FACTORS, widths=(8, 16, 8, 8), hidden=24, size=64)).eval()
    made.save_pretrained(tmp_path, dtype=torch.float16 if half else None)
    again = AttributeReader.from_pretrained(tmp_path)
    assert again.config == made.config
    pixels = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        for name, logits in made(pixels).items():
            torch.testing.assert_close(again(pixels)[name], logits, atol=2e-3 if half else 0, rtol=0)
    assert {name: len(values) for name, values in again.read(pixels).items()} == dict.fromkeys(CHOICES, 3)
