"""The models of the process that looks at photos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Opening:
    """What `Studio.open` is opened with, as far as it concerns faces. scratch: a folder for photos while a card is made
    of them; what is in it is deleted at the start."""

    model: str
    adapter: str | None
    yunet: str | None
    offline: bool
    scratch: str


class Tools:
    """Opened when they are first needed."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    @cached_property
    def detector(self) -> Any:
        from facefact.data.local import one_thread
        from facefact.faces import get_detector

        one_thread()
        return get_detector(model=self.opening.yunet)

    @cached_property
    def adapter(self) -> Any:
        from facefact.face_adapter import FaceAdapter
        from facefact.generate.studio import locate_adapter

        where = self.opening
        folder = locate_adapter(model=where.model, adapter=where.adapter, offline=where.offline)
        return FaceAdapter.from_pretrained(folder, local_files_only=True)

    def about(self) -> dict[str, Any]:
        """Part of the model -> its licence."""
        from facefact.generate.licences import brief, licences

        stated = brief(licences(model=self.opening.model, adapter=self.opening.adapter))
        return {"licences": stated | {"face detector": self.detector.licence}}
