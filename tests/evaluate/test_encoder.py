"""`facefact eval encoder`: the figures of embeddings whose scores are known, pictures, and the command."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facefact import checkpoint
from facefact.apps import cli
from facefact.demo import bundle_path
from facefact.encoder import TransFace, TransFaceConfig
from facefact.evaluate.encoder import held_out_look, open_encoder, photo_album, score, world_album
from facefact.types import UserError
from facefact.world import HELD_OUT, look, person, render

TINY = TransFaceConfig(patch_size=28, width=16, depth=1, heads=2, embedding_size=8)
PEOPLE = np.repeat(np.arange(40), 4)


def test_perfect_embeddings_score_one() -> None:
    found = score(np.eye(40)[PEOPLE], PEOPLE)
    for name in ("accuracy", "auc", "tar_at_far_0.01", "tar_at_far_0.001"):
        assert [found["verification"][name][end] for end in ("value", "low", "high")] == [1, 1, 1]
    assert found["identification"]["rank1"]["value"] == 1
    assert found["verification"]["pairs"] == {"same": 40 * 6, "different": 160 * 159 // 2 - 40 * 6}
    assert 0 < found["verification"]["threshold"] < 1
    assert all(tar == 1 for _, tar in found["roc"])


def test_random_embeddings_score_a_half() -> None:
    random = np.random.default_rng(0).normal(size=(160, 128))
    found = score(random / np.linalg.norm(random, axis=1, keepdims=True), PEOPLE)
    assert found["verification"]["auc"]["low"] < 0.5 < found["verification"]["auc"]["high"]
    assert found["verification"]["accuracy"]["value"] == pytest.approx(0.5, abs=0.07)
    assert found["identification"]["rank1"]["value"] < 0.1
    far, tar = np.array(found["roc"]).T
    assert (np.diff(far) > 0).all()
    assert (np.diff(tar) >= 0).all()
    np.testing.assert_allclose(tar[far > 0.1], far[far > 0.1], atol=0.1)


def test_one_embedding_for_all_is_no_knowledge() -> None:
    found = score(np.ones((160, 4)) / 2, PEOPLE)
    assert found["verification"]["auc"]["value"] == 0.5
    assert found["verification"]["accuracy"]["value"] == 0.5
    assert found["verification"]["tar_at_far_0.01"]["value"] == 0
    assert found["identification"]["rank1"]["value"] == 0


def test_the_world_album_is_of_unseen_people_and_its_own_for_a_seed() -> None:
    album = world_album(3, people=20, per_person=2)
    assert album.crops.shape == (40, 112, 112, 3)
    assert album.people.tolist() == [i for i in range(20) for _ in range(2)]
    assert np.array_equal(album.crops, world_album(3, people=20, per_person=2).crops)
    assert not np.array_equal(album.crops, world_album(4, people=20, per_person=2).crops)
    with pytest.raises(UserError, match="at least 20 people, 2 pictures"):
        world_album(3, people=4)
    with pytest.raises(UserError, match="knows no glasses=gold; choose from: none, round"):
        world_album(3, people=20, wearing={"glasses": "gold"})


def test_what_is_worn_is_worn_in_the_later_pictures_only() -> None:
    rng, wearing = np.random.default_rng(0), {"glasses": "sun", "pose": "left"}
    for _ in range(20):
        worn, bare = (held_out_look(rng, wearing, worn=worn) for worn in (True, False))
        assert (worn["glasses"], worn["pose"]) == ("sun", "left")
        assert bare["glasses"] == "none"
        assert bare["pose"] != "left"
        assert min(worn.variation, bare.variation) >= HELD_OUT


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.save(tmp_path / "run/encoder", TransFace(TINY).state_dict(), asdict(TINY))
    return tmp_path / "run"


def test_encoders_are_opened_wherever_they_are(encoder: Path, tmp_path: Path) -> None:
    wanted = open_encoder(encoder / "encoder").state_dict()
    torch.save(wanted, tmp_path / "published.pt")
    assert open_encoder(encoder).config == TINY
    assert torch.equal(open_encoder(tmp_path / "published.pt").pos_embed, wanted["pos_embed"])
    bundled = open_encoder(bundle_path() / "adapter")
    assert bundled.config.width == 160
    assert bundled.pos_embed.dtype == torch.float32
    with pytest.raises(UserError, match=r"has no config\.json"):
        open_encoder(tmp_path)


def photos(folder: Path, people: int, pictures: int) -> Path:
    for i in range(people):
        (folder / f"person {i}").mkdir(parents=True)
        for j in range(pictures):
            drawn = render(person(HELD_OUT + i), look(HELD_OUT + 10 * i + j, glasses="none", hat="none"))
            Image.fromarray(drawn.image).save(folder / f"person {i}/{j}.png")
    return folder


def test_photos_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    folder = photos(tmp_path / "album", 4, 2)
    (folder / "person 1/broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (64, 64)).save(folder / "person 0/2.png")
    (folder / "notes.txt").write_text("not a person")
    album = photo_album(folder)
    assert album.people.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(album.skipped) == 2
    assert any("broken.jpg" in line for line in album.skipped)
    with pytest.raises(UserError, match="usable photos of 0 people"):
        photo_album(tmp_path / "album/person 0")


def test_the_command_writes_the_figures_and_the_curve(
    encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made/figures.json"
    common = ["eval", "encoder", str(encoder), "--json", str(out), "--device", "cpu"]
    assert cli.main([*common, "--people", "20", "--per-person", "2", "--look", "hat=cap", "glasses=sun"]) == 0
    report = json.loads(out.read_text())
    assert (report["people"], report["pictures"], report["look"]) == (20, 40, {"hat": "cap", "glasses": "sun"})
    assert set(report["verification"]["accuracy"]) == {"value", "low", "high", "n"}
    assert "identification.rank1" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    assert Image.open(out.with_suffix(".png")).size == (600, 480)
    assert cli.main([*common, "--photos", str(photos(tmp_path / "album", 4, 2))]) == 0
    assert json.loads(out.read_text())["photos"] == "album"


def test_the_commands_errors_are_one_line(encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "encoder", str(encoder), "--look", "hat", "--people", "20"]) == 2
    assert (
        capsys.readouterr().err == "facefact: error: the portrait world knows no hat=; choose from: none, cap, "
        "beanie, straw\n"
    )
    assert cli.main(["eval", "encoder", str(encoder), "--look", "hat=cap", "--photos", "."]) == 2
