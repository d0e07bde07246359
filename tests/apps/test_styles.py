"""`facefact styles` and `--style` from the command line, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facefact.apps import cli
from facefact.generate import read_recipe
from facefact.generate.styles import find_style, preview_of
from facefact.world import look, person, render
from tiny import save_tiny_model, tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def call(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    Image.fromarray(render(person(1), look(1), size=128).image).save(tmp_path / "ada.png")
    common = ["--face", str(tmp_path / "ada.png"), "--model", str(model), "--device", "cpu"]
    return ["generate", *common, "--out", str(tmp_path / "out")]


@pytest.fixture
def with_lora(tmp_path: Path) -> Path:
    """A style of FaceChain's layout, and its LoRA beside it."""
    state: dict[str, Any] = {}
    for name, module in tiny_pipeline().unet.named_modules():
        if name.endswith("attn2.to_q"):
            state[f"unet.{name}.lora_A.weight"] = torch.ones(2, module.weight.shape[1]) / 8
            state[f"unet.{name}.lora_B.weight"] = torch.ones(module.weight.shape[0], 2) / 8
    save_file(state, tmp_path / "snow.safetensors")
    said = {
        "name": "Snow",
        "img": "./style_image/Snow.jpg",
        "model_id": "owner/snow",
        "revision": "v1",
        "bin_file": "snow.safetensors",
        "multiplier_style": 0.5,
        "multiplier_human": 0.9,
        "add_prompt_style": "deep snow",
    }
    (tmp_path / "Snow_style.json").write_text(json.dumps(said))
    return tmp_path / "Snow_style.json"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_style_is_the_words_and_settings_that_it_names(call: list[str], tmp_path: Path) -> None:
    assert cli.main([*call, "--style", "film-noir", "--prompt", "a red coat", "--steps", "2"]) == 0
    recipe = read_recipe(tmp_path / "out/portrait-0.png")
    style = find_style("film-noir")
    assert recipe["prompt"] == style.prompt.replace("{prompt}", "a red coat")
    assert (recipe["negative_prompt"], recipe["start"], recipe["steps"]) == (style.negative_prompt, 0.05, 2)
    assert recipe["style"] == {"name": "film-noir", "sha256": style.digest}
    typed = ["--prompt", recipe["prompt"], "--negative-prompt", recipe["negative_prompt"], "--start", "0.05"]
    assert cli.main([*call, *typed, "--steps", "2", "--out", str(tmp_path / "typed")]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "typed/portrait-0.png"), pixels(tmp_path / "out/portrait-0.png"))


def test_without_a_prompt_it_is_a_portrait_in_the_style_and_it_resumes(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*call, "--style", "golden-hour", "--steps", "1", "--start", "0"]
    assert cli.main(words) == 0
    assert read_recipe(tmp_path / "out/portrait-0.png")["prompt"].startswith("portrait of a person, meadow")
    assert cli.main([*words, "--resume"]) == 0
    words[words.index("golden-hour")] = "film-noir"
    assert cli.main([*words, "--resume"]) == 2
    assert "has another `prompt`" in capsys.readouterr().err


def test_a_styled_picture_is_made_again_with_its_lora(
    call: list[str], with_lora: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("peft")
    assert cli.main(["styles", "add", str(with_lora)]) == 0
    with_lora.with_name("snow.safetensors").unlink()
    assert cli.main([*call, "--style", "snow-style", "--prompt", "a coat", "--steps", "2"]) == 0
    made = tmp_path / "out/portrait-0.png"
    recipe = read_recipe(made)
    assert [(lora["name"], lora["weight"]) for lora in recipe["model"]["loras"]] == [("snow.safetensors", 0.5)]
    assert cli.main([*call, "--prompt", "a coat, deep snow", "--steps", "2", "--out", str(tmp_path / "plain")]) == 0
    assert (pixels(tmp_path / "plain/portrait-0.png") != pixels(made)).any()
    again = [*call, "--recipe", str(made), "--out", str(tmp_path / "again")]
    assert cli.main(again) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again/portrait-0.png"), pixels(made))
    assert read_recipe(tmp_path / "again/portrait-0.png") == recipe
    assert "what the recipe says" not in caplog.text


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--style", "film-nour"], "did you mean film-noir?"),
        (["--style", "beach-holiday"], "is for the embedded model"),
        (["--style", "film-noir", "--model", "demo"], "is for models of photos"),
        (["--style", "film-noir", "--recipe", "PICTURE"], "leave --style out, or --recipe"),
        (["--style", "DAMAGED"], "damaged.yaml: unknown setting colour"),
    ],
)
def test_what_does_not_fit_is_one_line(
    call: list[str], more: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "damaged.yaml").write_text("name: x\nfamily: sdxl\ncolour: x\n")
    assert cli.main([*call, "--prompt", "x", "--steps", "1"]) == 0
    files = {"PICTURE": str(tmp_path / "out/portrait-0.png"), "DAMAGED": str(tmp_path / "damaged.yaml")}
    capsys.readouterr()
    assert cli.main([*call, "--prompt", "x", "--overwrite", *(files.get(one, one) for one in more)]) == 2
    assert line in capsys.readouterr().err


def test_a_tables_rows_have_styles_of_their_own(
    call: list[str], with_lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "a coat", "style": "film-noir"}, {"style": str(with_lora)}, {"prompt": "a hat"}]
    lines = [json.dumps({"face": "ada.png"} | row) for row in rows]
    (tmp_path / "jobs.jsonl").write_text("\n".join(lines))
    table = ["generate", "--jobs", str(tmp_path / "jobs.jsonl"), *call[3:], "--steps", "1"]
    assert cli.main([*table, "--style", "golden-hour"]) == 1
    assert "a LoRA, and the model is one for all rows" in capsys.readouterr().err
    first, third = (read_recipe(tmp_path / f"out/row-{number}-0.png") for number in (1, 3))
    assert (first["style"]["name"], third["style"]["name"]) == ("film-noir", "golden-hour")
    assert third["prompt"].startswith("a hat, meadow")
    pytest.importorskip("peft")
    assert cli.main([*table, "--style", str(with_lora), "--out", str(tmp_path / "lora")]) == 0
    recipes = [read_recipe(tmp_path / f"lora/row-{number}-0.png") for number in (1, 2, 3)]
    assert [one["style"]["name"] for one in recipes] == ["film-noir", "snow-style", "snow-style"]
    assert recipes[0]["model"]["loras"] == recipes[1]["model"]["loras"] != []  # the model is one for all rows


def test_the_list_says_what_there_is(call: list[str], with_lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["styles", "add", str(with_lora), "--name", "mine"]) == 0
    assert "use it: facefact generate --style mine" in capsys.readouterr().out
    assert cli.main(["styles", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[:2] == ["mine", "sd15"]
    assert "[LoRA snow.safetensors, 0.5]" in lines[-1]
    assert cli.main(["styles", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [line.split()[0] for line in lines]
    assert rows[-1]["lora"] == {
        "file": "snow.safetensors",
        "weight": 0.5,
        "source": "owner/snow at ModelScope, revision v1",
    }


def test_previews_are_drawn_by_the_model_with_each_styles_lora(
    call: list[str], with_lora: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    assert cli.main(["styles", "add", str(with_lora)]) == 0
    capsys.readouterr()
    draw = ["styles", "preview", "film-noir", "snow-style", "--model", str(model), "--device", "cpu", "--steps", "1"]
    assert cli.main(draw) == 0
    files = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [preview_of(find_style(name)) for name in ("film-noir", "snow-style")] == files
    first, second = map(read_recipe, files)
    assert first["style"]["name"] == "film-noir"
    assert "loras" not in first["model"]
    assert second["model"]["loras"][0]["name"] == "snow.safetensors"
    mine = [*draw[:3], *draw[4:], "--face", str(tmp_path / "ada.png"), "--out", str(tmp_path / "shown")]
    assert cli.main([*mine, "--format", "webp"]) == 0
    assert len(read_recipe(tmp_path / "shown/film-noir.webp")["faces"]) == 1
    assert cli.main(["styles", "preview", "beach-holiday", "--model", str(model)]) == 2
