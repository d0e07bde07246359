"""`facefact generate --jobs` from the command line, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from facefact.apps import cli
from facefact.generate import read_recipe
from facefact.world import look, person, render
from tiny import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def call(model: Path, tmp_path: Path) -> list[str]:
    """The command; two rows of two people, who lie beside the table."""
    (tmp_path / "people").mkdir()
    for name in ("ada", "ben"):
        Image.fromarray(render(person(len(name)), look(3), size=128).image).save(tmp_path / f"people/{name}.png")
    (tmp_path / "people/jobs.csv").write_text("face,prompt,id,seed\nada.png,a red coat,ada,3\nben.png,,ben,\n")
    jobs, out = str(tmp_path / "people/jobs.csv"), str(tmp_path / "out")
    more = ["--steps", "2", "--device", "cpu", "--prompt", "a hat"]
    return ["generate", "--jobs", jobs, "--model", str(model), "--out", out, *more]


def test_a_table_becomes_files_and_an_index(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*call, "--batch", "2", "--format", "webp"]) == 0
    streams = capsys.readouterr()
    files = [tmp_path / "out" / name for name in ("ada-3.webp", "ben-0.webp")]
    assert streams.out.split() == [str(file) for file in files]
    assert "2 made, 0 there already, 0 failed" in streams.err
    assert [read_recipe(file)["prompt"] for file in files] == ["a red coat", "a hat"]
    assert cli.main([*call, "--format", "webp", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["made"], said["kept"]) == (0, 2)
    lines = (tmp_path / "out/index.jsonl").read_text().splitlines()
    assert said["portraits"] == [json.loads(line) for line in lines]


def test_a_failed_row_is_told_and_changes_the_exit_code(
    call: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people/ada.png").write_bytes(b"no picture")
    assert cli.main(call) == 1
    streams = capsys.readouterr()
    assert streams.out.split() == [str(tmp_path / "out/ben-0.png")]
    assert "1 made, 0 there already, 1 failed\n  row 1 (ada): " in streams.err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--face", "a.png"], "leave --face and --recipe out"),
        (["--recipe", "a.png"], "leave --face and --recipe out"),
        (["--prompt", "another"], "several prompts are several rows"),
        (["--workers", "2"], "are of --engine ray"),
        (["--ray-address", "auto"], "are of --engine ray"),
    ],
)
def test_options_that_do_not_fit_a_table_are_refused(
    call: list[str], more: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*call, *more]) == 2
    assert line in capsys.readouterr().err


def test_a_tables_pictures_are_signed_marked_and_of_free_models(
    call: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    keys = tmp_path / "keys"
    assert cli.main(["sign", "init", "--out", str(keys), "--name", "Ada"]) == 0
    signed = ["--c2pa-key", str(keys / "key.pem"), "--c2pa-cert", str(keys / "chain.pem")]
    assert cli.main([*call, *signed[:2]]) == 2
    assert "belong together" in capsys.readouterr().err
    assert cli.main([*call, "--strict-licences"]) == 2
    assert f"the model {model.name} (licence not stated)" in capsys.readouterr().err
    assert not (tmp_path / "out/ada-3.png").exists()
    assert cli.main([*call, "--size", "128", "--watermark", *signed]) == 0
    capsys.readouterr()
    files = [str(tmp_path / "out" / name) for name in ("ada-3.png", "ben-0.png")]
    assert cli.main(["verify", "--json", "--signed", "--trust", str(keys / "ca.pem"), *files]) == 0
    found = json.loads(capsys.readouterr().out)["pictures"]
    assert [(one["signature"]["signer"], one["mark"]["found"]) for one in found] == [("Ada", True)] * 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--prompt", "a"], "say whose portraits: --face"),
        (["--prompt", "a", "--face", "a.png", "--engine", "ray"], "--engine ray is for a table"),
        (["--prompt", "a", "--face", "a.png", "--workers", "2"], "--workers is for a table"),
    ],
)
def test_options_of_a_table_need_one(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", *words]) == 2
    assert line in capsys.readouterr().err
