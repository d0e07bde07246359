"""Identity-preserved portraits: the FaceChain-FACT face adapter for diffusers.

    from facefact import FaceAdapter

Names are looked up when they are first used: `import facefact` imports neither PyTorch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter as FaceAdapter
    from facefact.types import Face as Face
    from facefact.types import FaceCrop as FaceCrop
    from facefact.types import FaceTokens as FaceTokens
    from facefact.types import Portrait as Portrait
    from facefact.types import UserError as UserError

__version__ = "0.1.0"

_HOMES = {
    "FaceAdapter": "facefact.face_adapter",
    "Face": "facefact.types",
    "FaceCrop": "facefact.types",
    "FaceTokens": "facefact.types",
    "Portrait": "facefact.types",
    "UserError": "facefact.types",
}
__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'facefact' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
