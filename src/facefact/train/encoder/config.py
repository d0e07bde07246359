"""The settings of `facefact train` for a face encoder (`recipe: encoder`); `configs/encoder.yaml` says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from facefact.encoder import TransFaceConfig
from facefact.train.encoder.recogniser import Population, RecogniserLoss
from facefact.train.engine.loop import Schedule
from facefact.types import UserError


@dataclass(frozen=True)
class EncoderTraining:
    """The whole of `recipe: encoder`. A batch is `schedule.batch` pictures: half as many people, two pictures of
    each."""

    network: TransFaceConfig
    schedule: Schedule
    recipe: Literal["encoder"] = "encoder"
    loss: RecogniserLoss = RecogniserLoss()
    data: Population = Population()

    def check(self) -> None:
        """UserError: what is wrong before the first step."""
        if self.schedule.batch < 4 or self.schedule.batch % 2:
            raise UserError(
                f"setting schedule.batch: pictures come in pairs of two people or more, not {self.schedule.batch}"
            )
        self.loss.check("loss")
        self.data.check("data", self.schedule.batch // 2)
        if self.loss.classes not in (0, self.data.people):
            raise UserError(
                f"setting loss.classes: {self.loss.classes} centres for {self.data.people} people (data.people, 0: "
                "unlimited): give every person one, or set it to 0"
            )
