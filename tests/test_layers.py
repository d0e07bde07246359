"""Each layer imports only lower ones, and the packages of one layer do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import facefact

LAYERS = (
    ("types", "config", "device", "checkpoint", "page"),
    ("faces", "encoder", "adapter", "metrics"),
    ("face_adapter", "data", "world", "demo"),
    ("train", "generate"),
    ("evaluate",),
    ("apps",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ROOT = Path(facefact.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem not in ("__init__", "__main__"))


def part_of(path: Path) -> str:
    """src/facefact/generate/recipe.py -> generate"""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_parts(tree: ast.AST) -> Iterator[str]:
    """The parts of facefact that a module imports, at its top, inside functions and for type checking."""
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
                yield rest.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL, f"{part} has no place in the table of layers"
    for other in imported_parts(ast.parse(path.read_text(encoding="utf-8"))):
        assert other in LEVEL, f"{path.name} imports facefact.{other}, which is not in the table of layers"
        assert other in (part, "types") or LEVEL[other] < LEVEL[part], f"{part} must not import {other}"


def test_the_walk_sees_imports() -> None:
    code = (
        "import facefact.train.loop\n"
        "def f():\n"
        "    from facefact import generate, __version__\n"
        "    from facefact.apps.cli import main"
    )
    assert list(imported_parts(ast.parse(code))) == ["train", "generate", "apps"]
