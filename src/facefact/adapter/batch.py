"""Which rows of a model's batch carry the face: each pipeline lays out its batch in a way of its own.

A layout names the parts that a batch consists of, one after the other, each with a row for every picture; True where
the part carries the face, False where it carries the null face. The pipeline is not known where the layers run. But
the parts of a batch show the same latents, and those without the face are told by their text.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from facefact.adapter.condition import GUIDED, PLAIN, FaceCondition, Layout
from facefact.adapter.denoiser import calling_pipeline
from facefact.types import UserError

PERTURBED: Layout = (False, True, True)
EDITED: Layout = (True, False, False)  # InstructPix2Pix: [text and picture, picture alone, neither]


class BatchReader:
    """Reads the layout of the batch before each pass of one model."""

    def __init__(self) -> None:
        self._text: weakref.ref[Tensor] | None = None
        self._known: dict[tuple[int, int, bool], Layout] = {}  # of batches with this text

    def fit(
        self, condition: FaceCondition, model: nn.Module | None, latents: Tensor | None, text: Tensor | None
    ) -> FaceCondition:
        """The condition with a row for each of the batch, or so many that `fill_batch` completes it.

        latents: (b, channels, ...). text: (b, ...) or (b * frames, ...). UserError: the people do not fit the batch.
        """
        people = len(condition.face) // len(condition.parts)
        if latents is None or (not condition.guided and people in (1, len(latents))):
            return condition
        batch = len(latents)
        if batch % people:
            raise UserError(
                f"the face condition is of {people} people, and {calling_pipeline() or type(model).__name__} runs a "
                f"batch of {batch}: give one person, or as many people as prompts"
            )
        return condition.laid_out(self._layout(condition, people, model, latents, text))

    def _layout(
        self, condition: FaceCondition, people: int, model: nn.Module | None, latents: Tensor, text: Tensor | None
    ) -> Layout:
        """It stays the same while the text is the same tensor: looked at once for each portrait."""
        batch = len(latents)
        if torch.compiler.is_compiling():  # one graph for all batches of this size
            return GUIDED if condition.guided and batch % (2 * people) == 0 else PLAIN
        if self._text is None or text is None or self._text() is not text:
            self._text, self._known = None if text is None else weakref.ref(text), {}
        key = batch, people, condition.guided
        if key not in self._known:
            self._known[key] = read_layout(model, latents, text, people=people, guided=condition.guided)
            if condition.guided and self._known[key] == PLAIN and batch == 2 * people and calling_pipeline() is None:
                self._known[key] = GUIDED  # who calls a bare model lays out what the condition says
        return self._known[key]


def read_layout(
    model: nn.Module | None, latents: Tensor, text: Tensor | None, *, people: int, guided: bool = True
) -> Layout:
    """The layout of one batch. latents, text: as `BatchReader.fit`. people: how many the condition is of.

    guided: whether the condition has a null face; else the parts matter only for the order of several people.
    """
    batch, known = len(latents), _from_model(model)
    if _reads_a_picture_to_edit(model):
        latents = latents[:, : latents.shape[1] // 2]  # the picture differs between the parts
    halves = [GUIDED * k for k in range(1, batch // 2 + 1)]
    possible = [
        layout
        for layout in ([known] if known else [*halves, PERTURBED])
        if batch % (len(layout) * people) == 0 and _same_latents(latents, layout)
    ]
    if known and possible:
        return known
    texts = _text_classes(text, batch)
    agreeing = [layout for layout in possible if _texts_agree(texts, layout)]
    # A prompt may be another picture's negative prompt, or its own: then the first, which nearly all pipelines have.
    return next(iter(agreeing or (possible if guided else [])), PLAIN)


def _from_model(model: nn.Module | None) -> Layout | None:
    """What the model alone says, where it does."""
    if model is None:
        return None
    if _reads_a_picture_to_edit(model):
        return EDITED
    kinds = {type(getattr(module, "processor", None)).__name__ for module in model.modules()}
    if any(kind.startswith("PAGCFG") for kind in kinds):  # set for the time of the pipeline's call
        return PERTURBED
    return (True, True) if any(kind.startswith("PAG") for kind in kinds) else None


def _reads_a_picture_to_edit(model: nn.Module | None) -> bool:
    """InstructPix2Pix: the latents and, beside them, those of a picture, as many channels."""
    config: Any = getattr(model, "config", None)
    channels = getattr(config, "in_channels", None), getattr(config, "out_channels", None)
    return None not in channels and channels[0] == 2 * channels[1]  # type: ignore[operator]


def _same_latents(latents: Tensor, layout: Layout) -> bool:
    """Whether the parts show the same: guidance asks about the same latents with and without the text. Of repeated
    layouts each repetition may show others."""
    unit = next(k for k in range(1, len(layout) + 1) if layout == layout[:k] * (len(layout) // k))
    parts = latents.unflatten(0, (len(layout) // unit, unit, -1))
    return torch.equal(parts[:, 1:], parts[:, :1].expand_as(parts[:, 1:]))


def _text_classes(text: Tensor | None, batch: int) -> list[int] | None:
    """For each row the first row that has the same text."""
    if text is None or len(text) % batch:
        return None
    rows = text.detach()[:: len(text) // batch].flatten(1)
    same = torch.stack([(rows == row).all(1) for row in rows])
    return same.int().argmax(1).tolist()


def _texts_agree(texts: list[int] | None, layout: Layout) -> bool:
    """Whether no text is both with and without the face. texts: as `_text_classes` gives them."""
    if texts is None:
        return False
    n = len(texts) // len(layout)
    faced = {text for i, text in enumerate(texts) if layout[i // n]}
    return faced.isdisjoint(text for i, text in enumerate(texts) if not layout[i // n])
