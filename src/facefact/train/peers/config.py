"""Which peer, and how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from facefact.types import UserError

FORMAT = "facefact.Peer"
VERSION = 1
Kind = Literal["ip_adapter", "faceid", "last_layer"]


@dataclass(frozen=True)
class PeerConfig:
    """kind: "ip_adapter" (Ye et al. 2023): decoupled cross-attention beside that to the text, on the same resampler's
    tokens that FACT reads; "faceid" (its FaceID form): the same on a few tokens that a small network makes of the one
    embedding of the face; "last_layer": FACT's own layers on such tokens, the recogniser's last layer in the place of
    its penultimate one. tokens, hidden: of that network: how many it makes, and its width; other kinds read the
    resampler's settings."""

    kind: Kind = "ip_adapter"
    tokens: int = 4
    hidden: int = 1024

    @property
    def is_fact(self) -> bool:
        """Whether it has FACT's layers: gates, and increments that FAIR reads."""
        return self.kind == "last_layer"

    def check(self) -> None:
        if self.tokens < 1 or self.hidden < 1:
            raise UserError(f"adapter.peer: {self.tokens} tokens and a width of {self.hidden} are none: at least 1")
