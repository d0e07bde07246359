"""Which world it is: raised when a picture, mask, landmark or caption of a seed changes, and only then.

Caches of renders are named after it. tests/world/test_version.py holds renders of this version and fails when they
change and the number does not.
"""

from __future__ import annotations

VERSION = 1

# Before there was a number, caches carried a hash of the renderer's source text: that of version 1 goes on serving.
_NAMES = {1: "90afa78fcebe5540d0ae421b35643c02"}


def world_name(version: int = VERSION) -> str:
    """What caches call a version of the world."""
    return _NAMES.get(version, f"world {version}")
