"""API keys: who a caller is. The file holds hashes only; a key is shown once, when it is made.

A key is 256 random bits, so that one plain SHA-256 of it is as good as any slow hash: there is nothing to guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import time
from pathlib import Path

from facefact.files import replacing
from facefact.types import UserError

PREFIX = "ff_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LOOK_AGAIN = 1.0  # seconds: how long a removed key may go on working


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """The keys in a file: {"keys": [{"name": ..., "sha256": ...}]}. It is read again when it has changed, so that keys
    come and go without a restart. UserError: it cannot be read, or is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = read(path)
        self._stamp = _stamp(path)
        self._looked = time.monotonic()

    def owner(self, key: str) -> str | None:
        """Who holds this key, None for nobody. All hashes are compared, each in constant time."""
        self._look_again()
        given, found = hashed(key), None
        for name, known in self._known.items():
            if hmac.compare_digest(known, given):
                found = name
        return found

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        if (stamp := _stamp(self.path)) == self._stamp:
            return
        with contextlib.suppress(UserError):  # half written by hand: what was known goes on
            self._known, self._stamp = read(self.path), stamp


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


def read(path: Path) -> dict[str, str]:
    """Name -> SHA-256 of the key, in hex."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        known = {str(one["name"]): str(one["sha256"]) for one in said["keys"]}
    except FileNotFoundError:
        raise UserError(
            f"{path}: there are no keys; make one with `facefact serve --new-key NAME --api-keys {path}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a file of keys ({error})") from error
    if not all(re.fullmatch("[0-9a-f]{64}", one) for one in known.values()):
        raise UserError(f"{path}: not a file of keys (a sha256 has 64 hex digits)")
    return known


def new_key(path: Path, name: str) -> str:
    """Adds a key to the file, which is made where there is none (mode 0600); the key, which is nowhere else. UserError:
    a name that is taken or none."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a key: letters, digits, dots, dashes, at most 64")
    known = read(path) if path.exists() else {}
    if name in known:
        raise UserError(f"{path}: there is a key {name} already; take its line out first, or take another name")
    key = PREFIX + secrets.token_urlsafe(32)
    known[name] = hashed(key)
    said = {"keys": [{"name": one, "sha256": digest} for one, digest in known.items()]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, private=True) as temporary:
            temporary.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error
    return key
