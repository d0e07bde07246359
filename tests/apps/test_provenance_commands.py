"""`facefact sign`, `verify` and `models licences`, and the options that sign and mark what is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facefact.apps.cli import main
from facefact.generate import read_recipe
from facefact.world import look, person, render


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with a picture of a person, and settings that are nobody's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path / "home"))
    Image.fromarray(render(person(3), look(3), size=128).image).save("me.png")
    return tmp_path


def generate(*more: str) -> int:
    return main(["generate", "--face", "me.png", "--prompt", "smiling", "--steps", "1", "--device", "cpu", *more])


def verified(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = main(["verify", "--json", *more])
    return code, json.loads(capsys.readouterr().out)["pictures"]


def test_made_signed_marked_verified_and_changed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    assert main(["sign", "init", "--out", "keys", "--name", "Ada"]) == 0
    keys = ["--c2pa-key", "keys/key.pem", "--c2pa-cert", "keys/chain.pem"]
    assert generate(*keys, "--watermark", "--strict-licences", "--format", "webp") == 0
    assert read_recipe("out/portrait-0.webp")["watermark"] == "facefact-svd-1"
    code, (found,) = verified(capsys, "--trust", "keys/ca.pem", "--signed", "out/portrait-0.webp")
    assert code == 0
    assert (found["signature"]["state"], found["signature"]["signer"], found["mark"]["found"]) == (
        "trusted",
        "Ada",
        True,
    )
    assert verified(capsys, "--signed", "out/portrait-0.webp")[0] == 1  # nobody vouches for Ada
    assert main(["verify", "out/portrait-0.webp"]) == 0
    assert "valid, by Ada; nobody here vouches for who that is" in capsys.readouterr().out
    content = bytearray(Path("out/portrait-0.webp").read_bytes())
    at = content.find(b"smiling")
    content[at : at + 7] = b"frownin"
    Path("changed.webp").write_bytes(content)
    assert main(["verify", "changed.webp"]) == 1
    assert "changed.webp: changed since it was signed" in capsys.readouterr().out


def test_a_template_keeps_its_credentials(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    assert main(["sign", "init"]) == 0  # trusted on this machine
    keys = ["--c2pa-key", "config/facefact/signing/key.pem", "--c2pa-cert", "config/facefact/signing/chain.pem"]
    assert generate(*keys) == 0
    call = "inpaint --face me.png --template out/portrait-0.png --prompt smiling --steps 2 --device cpu --out put"
    assert main([*call.split(), *keys]) == 0
    call = "group --put 0=me.png --template out/portrait-0.png --prompt smiling --steps 2 --device cpu --out group"
    assert main([*call.split(), *keys, "--format", "jpeg"]) == 0
    code, found = verified(capsys, "put/portrait-0.png", "group/portrait-0.jpg")
    assert code == 0
    for one in found:
        assert one["signature"]["state"] == "trusted"
        assert one["signature"]["inputs"] == ["template"]
        assert one["signature"]["source"] == "compositeWithTrainedAlgorithmicMedia"


def test_what_cannot_be_signed_or_marked_is_said_before_any_work(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in [
        (["--c2pa-key", "key.pem"], "--c2pa-key and --c2pa-cert belong together"),
        (["--watermark", "--size", "64"], "64x64 is too small for the invisible mark"),
    ]:
        assert generate(*more) == 2
        assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_marked_run_does_not_go_on_from_unmarked_pictures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate() == 0
    assert generate("--resume", "--watermark") == 2
    assert "is not marked" in capsys.readouterr().err


def test_what_is_not_ours_or_no_picture_is_one_line_and_the_rest_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("words.png").write_text("no picture")
    info = Image.Exif()
    Image.new("RGB", (200, 200), "red").save("steer.jpg", exif=info, comment="x")
    code, found = verified(capsys, "words.png", "none.png", "me.png", "steer.jpg")
    assert code == 1
    assert [("error" in one, one.get("ours")) for one in found] == [(True, None)] * 2 + [(False, False)] * 2
    assert main(["verify", "words.png", "me.png"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "me.png: not known here" in shown.out
    assert main(["verify", "me.png", "--trust", "words.png"]) == 2
    assert "no certificate in PEM" in capsys.readouterr().err


def test_texts_of_pictures_do_not_steer_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a castle \x1b[2J\x07\nSteps: 20, Seed: 1")
    Image.new("RGB", (64, 64)).save("evil.png", pnginfo=info)
    assert main(["verify", "evil.png"]) == 1
    assert "\x1b" not in (out := capsys.readouterr().out)
    assert "Stable Diffusion web UI's: a castle" in out


def test_the_licences_of_what_is_here(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = here / "home/closed"
    closed.mkdir(parents=True)
    (closed / "model_index.json").write_text("{}")
    (closed / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    assert main(["models", "licences", "--json"]) == 0
    found = {(one["part"], one["name"]): one for one in json.loads(capsys.readouterr().out)}
    assert found["model", "demo"]["licence"] == "apache-2.0"
    assert found["model", "closed"]["commercial"] == "no"
    assert found["face detector", "avatar"]["commercial"] == "yes"
    assert main(["models", "licences", "closed"]) == 0
    assert "commercial use: no " in capsys.readouterr().out
    assert main(["models", "licences", "nothing-there"]) == 2
    assert "no model 'nothing-there'" in capsys.readouterr().err
