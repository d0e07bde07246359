from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facefact import __version__
from facefact.apps import cli
from facefact.types import UserError


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=os.environ, check=False)


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"  {name} " in out for name in cli.COMMANDS)


def test_module_and_version() -> None:
    done = python("-m", "facefact", "--version")
    assert (done.returncode, done.stdout) == (0, f"facefact {__version__}\n")


def test_names_are_found_lazily() -> None:
    import facefact
    from facefact import types

    assert facefact.FaceTokens is types.FaceTokens
    assert "FaceAdapter" in dir(facefact)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = facefact.Nonsense


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a command `try` that does what it is told."""

    def install(act: Any) -> None:
        module = SimpleNamespace(
            add_parser=lambda subparsers: subparsers.add_parser("try").add_argument("--x", type=int), run=act
        )
        monkeypatch.setitem(cli.COMMANDS, "try", ("facefact_try", "tries"))
        monkeypatch.setitem(sys.modules, "facefact_try", module)

    return install


def raising(error: BaseException) -> Any:
    def run(args: Any) -> int:
        raise error

    return run


def test_exit_codes(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda args: args.x)
    assert cli.main(["try", "--x", "0"]) == 0
    command(raising(UserError("this is wrong: do that")))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr() == ("", "facefact: error: this is wrong: do that\n")
    command(raising(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    command(raising(RuntimeError("a bug")))
    assert cli.main(["try"]) == 1
    assert "RuntimeError: a bug" in capsys.readouterr().err


MISTAKES = {
    "": "facefact: error: the following arguments are required: COMMAND; see facefact --help",
    "genrate": "try; did you mean generate?",
    "--scale 0.7 generate": "facefact: error: --scale: no such option; see facefact --help",
    "models lst": "argument ACTION: 'lst' is none of list, licences, import, prune, pull; did you mean list?",
    "generate --scale banana": "facefact generate: error: argument --scale: 'banana' is not a number; see",
    "generate --scale nan": "'nan' is not a number",
    "generate --seed 1.5": "argument --seed: '1.5' is not a whole number",
    "generate --fase me.jpg": "facefact generate: error: --fase: no such option; did you mean --face?",
    "generate --fase=me.jpg": "--fase: no such option; did you mean --face?",
    "generate -face me.jpg": "-face: no such option; did you mean --face?",
    "generate --face me.jpg --prompt a red coat": "'red' belongs to no option; put a text of several words into quotes",
    "generate --face": "argument --face: expected one argument",
    "generate --face a --format tiff": "'tiff' is none of png, jpeg, webp",
    "inpaint --tempalte a.png": "did you mean --template?",
    "faces a.png --detector yunnet": "did you mean yunet?",
    "prepare a --out b --engine locl": "did you mean local?",
    "train a.yaml --owt b": "did you mean --out?",
    "eval world --peple 3": "facefact eval world: error: --peple: no such option; did you mean --people?",
    "eval steps --between 1": "argument --between: '1' is no part of a schedule such as 0.1:1",
    "bench unet --bach 2": "did you mean --batch?",
    "demo --people 1": "facefact demo: error: argument --people: 1 is less than 2; see",
    "eval steps --json a.json --steps 4 0": "argument --steps: 0 is less than 1",
    "demo --nonsense": "--nonsense: no such option; see facefact demo --help",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_costs_one_line_with_the_nearest_right_word(
    command: Any, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(line.split())
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert MISTAKES[line] in err
    assert err.count("\n") == 1


def test_where_figures_cannot_go_is_said_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "world", "--json", str(tmp_path)]) == 2
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    folder, file = capsys.readouterr().err.splitlines()
    assert folder.endswith("is a folder: name a file in it")
    assert file.endswith("file: cannot be a folder for the pictures (File exists)")


def test_what_is_right_stays_so(command: Any) -> None:
    """Beginnings of names, values that begin with a dash, and what comes behind the two dashes."""
    parser = cli.build_parser("generate")
    args = parser.parse_args(
        ["generate", "--face=a b.jpg", "-n4", "--scale", "-1", "--prompt", "- a coat", "--neg", "x"]
    )
    assert (str(args.face[0]), args.count, args.scale, args.negative_prompt) == ("a b.jpg", 4, -1, "x")
    assert args.prompt == ["- a coat"]
    assert str(cli.build_parser("prepare").parse_args(["prepare", "--out", "b", "--", "--odd"]).input) == "--odd"
