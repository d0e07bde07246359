"""From the face encoder's tokens, as the cache keeps them, to what the base model's condition is made of."""

from __future__ import annotations

from torch import Tensor

from facefact.face_adapter import FaceAdapter
from facefact.types import FaceTokens


def face_tokens(adapter: FaceAdapter, tokens: Tensor, dropped: Tensor | None = None) -> FaceTokens:
    """The resampler's tokens of n pictures of each of b people, in a row: (b, n * queries, width); no null face is made
    (there is no guidance in training).

    tokens: (b, n, t, encoder width), as `Cache.tokens_of` has them. dropped: (b,) bool: the published null face in its
    place, which is all-zero encoder tokens; None: nobody's.
    """
    tokens = tokens.to(adapter.device, adapter.dtype)
    if dropped is not None:
        tokens = tokens * ~dropped.to(tokens.device)[:, None, None, None]
    face = adapter.resampler(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2]).flatten(1, 2)
    return FaceTokens(face, face)
