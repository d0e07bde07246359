"""Each layer imports only lower ones, and the packages of one layer do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import facefact

LAYERS = (
    ("files",),
    ("types", "config", "device", "checkpoint", "client", "hub", "page", "markdown", "demo", "autoencoder"),
    ("faces", "encoder", "adapter", "metrics"),
    ("face_adapter", "data", "world"),
    ("generate",),
    ("train",),
    ("evaluate", "bench"),
    ("apps",),
)
# Inside `train`, the same way.
WINGS = (
    ("engine", "peers"),
    ("losses", "settings"),
    ("material", "report"),
    ("adapter", "encoder"),
    ("bundle",),
    ("recipe",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
WING = {name: level for level, names in enumerate(WINGS) for name in names}
ROOT = Path(facefact.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__"))


def parts_of(path: Path) -> list[str]:
    """src/facefact/generate/recipe.py -> [generate, recipe]"""
    return list(path.relative_to(ROOT).with_suffix("").parts)


def imported(tree: ast.AST) -> Iterator[list[str]]:
    """What a module imports of facefact, at its top, inside functions and for type checking, as parts of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "facefact" and rest and not rest.startswith("__"):
                yield rest.split(".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path: Path) -> None:
    part, *rest = parts_of(path)
    if path.stem == "__main__":
        part = "apps"  # `python -m` of a package is a command, wherever it lies
    assert part in LEVEL, f"{part} has no place in the table of layers"
    for other, *more in imported(ast.parse(path.read_text(encoding="utf-8"))):
        assert other in LEVEL, f"{path.name} imports facefact.{other}, which is not in the table of layers"
        assert other in (part, "types") or LEVEL[other] < LEVEL[part], f"{part} must not import {other}"
        if part == other == "train" and rest[0] != "__init__":
            points_down(rest[0], more[0])


def test_no_options_are_read_below_the_commands() -> None:
    for path in FILES:
        if parts_of(path)[0] != "apps":
            assert "argparse" not in path.read_text(encoding="utf-8"), path


def points_down(wing: str, other: str) -> None:
    for name in (wing, other):
        assert name in WING, f"train.{name} has no place in the table of wings"
    assert other == wing or WING[other] < WING[wing], f"train.{wing} must not import train.{other}"


def test_there_are_no_cycles() -> None:
    """Of modules, imports inside functions included."""
    files = {".".join(parts_of(path)).removesuffix(".__init__"): path for path in ROOT.rglob("*.py")}
    graph = {name: targets(path, name, files) for name, path in files.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a cycle: {' -> '.join([*above[above.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def targets(path: Path, name: str, files: dict[str, Path]) -> set[str]:
    """The modules that a file imports from. (A package's own __init__, which names what is inside, is not one of its
    modules' imports.)"""
    found = set()
    for parts in imported(ast.parse(path.read_text(encoding="utf-8"))):
        longest = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in files), None)
        if longest and longest != name and not name.startswith(f"{longest}."):
            found.add(longest)
    return found


LONGEST_FUNCTION, LONGEST_FILE = 60, 400  # lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_read_without_scrolling(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_tests_mirror_the_source() -> None:
    """A folder of tests for each package; a test file says by its folder what it is about."""
    packages = {path.parent.relative_to(ROOT) for path in FILES}
    tests = Path(__file__).parent
    for path in tests.rglob("test_*.py"):
        assert path.parent.relative_to(tests) in {*packages, Path(".")}, f"{path} mirrors no package"


def test_the_walk_sees_imports() -> None:
    code = (
        "import facefact.train.loop\n"
        "def f():\n"
        "    from facefact import generate, __version__\n"
        "    from facefact.apps.cli import main"
    )
    assert list(imported(ast.parse(code))) == [["train", "loop"], ["generate"], ["apps", "cli", "main"]]
