"""The photo suite: methods whose answers are known, and the whole command at tiny size, twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps import cli
from facefact.data.recognisers import AVATAR_ENCODER
from facefact.evaluate.causal.generators import OneByOne
from facefact.evaluate.photos.figures import WORDS, Judge
from facefact.evaluate.photos.layout import PROMPTS, Layout, read_layout
from facefact.evaluate.photos.run import THEMSELVES, PhotoSuite, run_photos
from facefact.evaluate.recognisers import open_named
from facefact.evaluate.report.record import Report
from facefact.faces import get_detector
from facefact.types import UserError
from facefact.world import look, person, render
from portraits import people
from tiny import save_tiny_model, tiny_pipeline


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    folder = tmp_path_factory.mktemp("suite")
    people(folder / "people", count=4, looks=3, size=112)
    (folder / "people/Person_1/Person_1_0009.png").write_text("I am no picture")
    (folder / "prompts.txt").write_text("# mine\nin a coat\n\nsmiling\n")
    return read_layout(folder, get_detector("avatar"))


def test_the_layout_is_read_and_what_it_lacks_is_said(layout: Layout, tmp_path: Path) -> None:
    assert [one.name for one in layout.people] == [f"Person_{i}" for i in range(4)]
    assert layout.prompts == ("in a coat", "smiling")
    assert len(layout.skipped) == 1
    assert len(set(PROMPTS)) == 40
    for text, line in (("none", "has no folder people"), ("one", "usable photos of 1 people"), ("empty", "no prompt")):
        folder = tmp_path / text
        folder.mkdir()
        if text != "none":
            people(folder / "people", count=1 if text == "one" else 2, looks=1, size=112)
            (folder / "prompts.txt").write_text("a\n" if text == "one" else "\n")
        with pytest.raises(UserError, match=line):
            read_layout(folder, get_detector("avatar"))


@pytest.fixture(scope="module")
def report(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A copy of the reference, another photo of the person (the same one for each seed), and strangers."""
    other = {one.photos[0].picture.tobytes(): one.photos[1].picture for one in layout.people}
    stranger = {seed: render(person(50 + seed), look(seed, glasses="none")).image for seed in range(1, 5)}
    methods = [
        OneByOne("copy", lambda references, prompt, seed: references[0]),
        OneByOne("true", lambda references, prompt, seed: other[references[0].tobytes()]),
        OneByOne("nothing", lambda references, prompt, seed: np.zeros((112, 112, 3), np.uint8)),
    ]
    base = OneByOne(
        "base", lambda references, prompt, seed: np.asarray(Image.fromarray(stranger[seed]).resize((112, 112)))
    )
    judge = Judge(get_detector("avatar"), {"own": open_named(str(AVATAR_ENCODER))})
    suite = PhotoSuite(layout, judge, tmp_path_factory.mktemp("out"), {}, each=2)
    return run_photos(suite, [*methods, base], base, {})


def test_known_methods_have_the_figures_that_they_should(report: Report) -> None:
    copy, true, nothing, base = (report.methods[name] for name in ("copy", "true", "nothing", "base"))
    assert copy["cos_own.own"].value == pytest.approx(1, abs=1e-5)
    assert copy["copy_paste.own"].value == pytest.approx(1, abs=0.01)
    assert true["copy_paste.own"].value == pytest.approx(-1, abs=0.01)
    assert copy["rank1.own"].value == true["rank1.own"].value == 1
    assert copy["diversity.own"].value == pytest.approx(0, abs=1e-5)
    assert nothing["no_face"].value == 1
    assert nothing["rank1.own"].value == 0
    assert "diversity.own" not in nothing
    assert base["rank1.own"].value < 0.7
    assert base["diversity.own"].value > 1, "strangers differ more than photos of one person"
    assert "outside_change" not in base
    assert true["less.cos_own.own"].high < 0
    assert {"by_skin.cos_own.own.light", "by_skin.cos_own.own.apart"} <= set(copy)
    assert report.methods[THEMSELVES]["cos_own.own"].value == pytest.approx(true["cos_own.own"].value, abs=0.1)
    assert {name.split(".")[0] for figures in report.methods.values() for name in figures} <= set(WORDS)


def test_two_of_one_name_are_refused(layout: Layout, tmp_path: Path) -> None:
    twice = [OneByOne("a", lambda references, prompt, seed: references[0])] * 2
    with pytest.raises(UserError, match="names of their own"):
        run_photos(PhotoSuite(layout, None, tmp_path, {}), twice, twice[0], {})  # type: ignore[arg-type]


def save_tiny_clip(folder: Path) -> Path:
    """A whole CLIP at tiny size, random, with a tokenizer."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokenizer = tiny_pipeline().tokenizer
    text = sizes | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    config = CLIPConfig(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 8}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_the_command_on_ones_own_model_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten seconds: a random model's pictures are looked at from four sides for a face, three times."""
    detector = get_detector("avatar")
    monkeypatch.setattr("facefact.faces.get_detector", lambda **options: detector)
    model, clip = save_tiny_model(tmp_path / "model"), save_tiny_clip(tmp_path / "clip")
    suite = tmp_path / "suite"
    people(suite / "people", count=2, looks=2, size=96)
    (suite / "without.txt").write_text("a house\na tree\na lake\na dog\na bird\na car\n")
    call = ["eval", "photos", str(suite), "--model", str(model), "--adapter", str(model / "adapter"), "--steps", "1"]
    call += ["--prompts", "4", "--each", "1", "--recogniser", str(AVATAR_ENCODER), "--clip", str(clip)]
    call += ["--beside", f"twin={model / 'adapter'}", "--methods", "fact", "--device", "cpu"]

    def ran(out: Path) -> Any:
        assert cli.main([*call, "--out", str(out)]) == 0
        return json.loads((out / "report.json").read_text())

    found = ran(tmp_path / "one")
    assert list(found["methods"]) == ["FACT", "twin", THEMSELVES]
    fact, twin = found["methods"]["FACT"], found["methods"]["twin"]
    assert {"text", "kid", "kid_nobody", "outside_change", "no_face"} <= set(fact)
    assert {name: fact[name] for name in ("text", "kid", "kid_nobody")} == {
        name: twin[name] for name in ("text", "kid", "kid_nobody")
    }
    pictures = sorted((tmp_path / "one/pictures/FACT").rglob("*.png"))
    assert len(pictures) == 2 * 4 + 6
    assert found == ran(tmp_path / "two"), "one suite and seed, the same numbers"
    pictures[0].unlink()
    made = {path: path.stat().st_mtime_ns for path in pictures[1:]}
    assert found == ran(tmp_path / "one"), "what was lost is made again, the same"
    assert made == {path: path.stat().st_mtime_ns for path in pictures[1:]}
    capsys.readouterr()
    assert cli.main([*call, "--out", str(tmp_path / "one"), "--scale", "0.9"]) == 2
    assert "pictures of other settings" in capsys.readouterr().err
    assert cli.main([*call, "--out", str(tmp_path / "three"), "--clip", str(suite)]) == 2
    assert "is no CLIP model" in capsys.readouterr().err
