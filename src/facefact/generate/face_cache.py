"""Faces that were encoded before. In memory alone: nothing about a face is written anywhere that nobody asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from facefact.encoder.card import is_card
from facefact.generate.person import find_person, tokens_of
from facefact.generate.recipe import file_hash
from facefact.types import FaceTokens

if TYPE_CHECKING:
    from facefact.face_adapter import FaceAdapter
    from facefact.faces import Detector


class FaceCache:
    """People's tokens, remembered by the contents of their photos: `cache("a.jpg", "b.jpg")`.

    Bound to an adapter and a detector (None: the best there is): with others, or other weights, make another. size:
    people that are remembered, those asked for last (16 tokens of 768 numbers for each photo, as much for "no face":
    100 KB). Safe between threads.
    """

    def __init__(self, adapter: FaceAdapter, *, detector: Detector | None = None, size: int = 256) -> None:
        self._adapter = adapter
        self._detector = detector
        self._size = size
        self._known: OrderedDict[Any, FaceTokens] = OrderedDict()
        self._lock = Lock()

    def __call__(self, *photos: str | Path, which: int = 0) -> FaceTokens:
        """One person's tokens. which: which face of each photo, 0 is the largest. An identity card may stand for a
        photo; it is read each time, as it may have expired. UserErrors as `face_crop`, `load_card` and `tokens_of`."""
        if any(map(is_card, photos)):
            return tokens_of(find_person(photos, detector=self._detector, which=which), self._adapter)
        try:
            key = (which, *(file_hash(photo) for photo in photos))
        except OSError:
            return self._encode(photos, which)  # which says what is wrong with the file
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        tokens = self._encode(photos, which)
        with self._lock:
            self._known[key] = tokens
            while len(self._known) > self._size:
                self._known.popitem(last=False)
        return tokens

    def _encode(self, photos: Sequence[str | Path], which: int) -> FaceTokens:
        return self._adapter.encode(list(photos), detector=self._detector, which=which)
