from __future__ import annotations

import os
import subprocess
import sys
import time
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


def test_help_and_import_load_no_torch() -> None:
    code = (
        "import sys, facefact\n"
        "from facefact.apps import cli\n"
        "for argv in (['--help'], ['generate', '--help'], ['inpaint', '--help'], ['models', '--help']):\n"
        "    try: cli.main(argv)\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'cv2', 'numpy', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.monotonic()
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 5


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


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["try", "--nonsense"]])
def test_a_wrong_call_says_how(command: Any, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda args: 0)
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "usage: facefact" in capsys.readouterr().err
