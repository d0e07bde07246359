"""Where a model lies: here, or on the hub, which is asked only for an id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from facefact import UserError, hub


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What the hub is asked for; it gives everything."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        calls.append((name, options))
        return str(tmp_path / "fetched")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_a_directory_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.directory(tmp_path, allow_patterns=["*"]) == tmp_path
    assert hub.directory("owner/name", allow_patterns=["*"]) == Path("owner/name"), "what is here comes first"
    assert hub.directory("~/owner", allow_patterns=["*"]) == tmp_path / "owner"
    assert not asked


def test_a_hub_id_is_fetched(tmp_path: Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    found = hub.directory(
        "owner/name", allow_patterns=("*.json",), ignore_patterns=("b*",), revision="v1", local_files_only=True
    )
    assert found == tmp_path / "fetched"
    options = {"allow_patterns": ["*.json"], "ignore_patterns": ["b*"], "revision": "v1", "local_files_only": True}
    assert asked == [("owner/name", options)]


@pytest.mark.parametrize(
    "source",
    ["", "name", "./name", "../name", ".hidden/name", "~nobody/name", "a/b/c", "/owner/name", Path("owner/name")],
)
def test_what_is_neither_is_refused(source: str | Path, asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(UserError, match=r"^base: .*is neither a directory nor a hub id such as owner/name$"):
        hub.directory(source, allow_patterns=["*"], where="base: ")
    assert not asked


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("no such host\nTraceback ..."), "no such host"), (TimeoutError(), "TimeoutError")]
)
def test_the_hubs_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    message = rf"^owner/name is no directory here, and the hub did not give it: {reason}$"
    with pytest.raises(UserError, match=message):
        hub.directory("owner/name", allow_patterns=["*"])
