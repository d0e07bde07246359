from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest

from facefact.apps.service.api.keys import Keys, new_key
from facefact.types import UserError


def test_the_file_holds_hashes_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    key = new_key(path, "ada")
    assert key not in path.read_text()
    assert json.loads(path.read_text()) == {
        "keys": [{"name": "ada", "sha256": hashlib.sha256(key.encode()).hexdigest()}]
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = new_key(path, "bob")
    assert len({key, other, new_key(path, "eve")}) == 3
    keys = Keys(path)
    assert (keys.owner(key), keys.owner(other), keys.owner(key[:-1]), keys.owner("")) == ("ada", "bob", None, None)


def test_what_is_no_name_or_no_file_of_keys_is_said(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(UserError, match="--new-key"):
        Keys(path)
    new_key(path, "ada")
    for name in ("ada", "", "a b", "x" * 65, "../x"):
        with pytest.raises(UserError, match="key|name"):
            new_key(path, name)
    for text in ("", "[]", '{"keys": 1}', '{"keys": [{"name": "a"}]}', '{"keys": [{"name": "a", "sha256": "x"}]}'):
        path.write_text(text)
        with pytest.raises(UserError, match="not a file of keys"):
            Keys(path)
