"""Training of the attribute reader on renders: cross-entropy on what is visible."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.metrics.reader import AttributeReader
from facefact.metrics.views import to_pixels
from facefact.train.engine.loop import Batches
from facefact.train.material.world import softened
from facefact.world import CHOICES, look, person, render, training_seed, visible

UNSEEN = -100


class ReaderStage(nn.Module):
    """The attribute reader and its loss."""

    def __init__(self, reader: AttributeReader):
        super().__init__()
        self.reader = reader

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `batches` makes it. -> scalars: loss, and the share of right answers on what can be seen."""
        answers = self.reader(batch["pixels"])
        losses = [
            F.cross_entropy(answers[name].float(), batch[name], ignore_index=UNSEEN, label_smoothing=0.02)
            for name in CHOICES
        ]
        right = [(answers[name].argmax(-1) == batch[name])[batch[name] != UNSEEN].float().mean() for name in CHOICES]
        return {"loss": torch.stack(losses).mean(), "accuracy": torch.stack(right).mean()}


def batches(seed: int, batch: int, rank: int = 0) -> Batches:
    """step -> iterator of batches: pixels (b, 3, h, w) in [-1, 1] and, for each factor, (b,) int64: the
    value's index, or UNSEEN."""

    def batches_from(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            looks = [look(training_seed(rng)) for _ in range(batch)]
            images = [softened(render(person(training_seed(rng)), shown).image, rng) for shown in looks]
            seen = [visible(shown) for shown in looks]
            truth = {
                name: torch.tensor([values.index(one[name]) if name in one else UNSEEN for one in seen])
                for name, values in CHOICES.items()
            }
            yield {"pixels": torch.stack([to_pixels(image) for image in images]), **truth}
            step += 1

    return batches_from
