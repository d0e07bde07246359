"""Which peer, and how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from facefact.types import UserError

Kind = Literal["ip_adapter", "faceid"]


@dataclass(frozen=True)
class PeerConfig:
    """kind: "ip_adapter" (Ye et al. 2023): decoupled cross-attention beside that to the text, on the same resampler's
    tokens that FACT reads; "faceid" (its FaceID form): the same on a few tokens that a small network makes of the one
    embedding of the face. tokens, hidden: of that network: how many it makes, and its width; other kinds read the
    resampler's settings."""

    kind: Kind = "ip_adapter"
    tokens: int = 4
    hidden: int = 1024

    def check(self) -> None:
        if self.tokens < 1 or self.hidden < 1:
            raise UserError(f"adapter.peer: {self.tokens} tokens and a width of {self.hidden} are none: at least 1")
