"""The settings of the recipe that builds the embedded bundle (`configs/world.yaml`): one group for each part.

Every number that decides what the weights become is here, the seeds too; `configs/world.yaml` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from facefact.encoder import ResamplerConfig, TransFaceConfig
from facefact.faces.avatar_net import AvatarNetConfig
from facefact.train.bundle.autoencoder import AutoencoderConfig
from facefact.train.bundle.base_model import BaseConfig
from facefact.train.engine.schedule import Schedule
from facefact.train.settings import BaseModel, Condition, Loss, NewAdapter, Validation


@dataclass(frozen=True)
class AutoencoderRecipe:
    """latents: how many renders the latents' mean and spread are measured on, drawn from `latents_seed`."""

    network: AutoencoderConfig = AutoencoderConfig()
    schedule: Schedule = Schedule(steps=3000, batch=8, lr=6e-3, ema=0.05, weight_decay=0.0, seed=11)
    latents: int = 500
    latents_seed: int = 12


@dataclass(frozen=True)
class DecoderRecipe:
    """The decoder alone, further, on crops of `crop` pixels, half of them about faces.
    face_weight, feature_weight, weber: as the base model's."""

    crop: int = 64
    face_weight: float = 2.0
    feature_weight: float = 6.0
    weber: float = 1.0
    schedule: Schedule = Schedule(steps=2500, batch=8, lr=4e-3, warmup=20, ema=0.05, weight_decay=0.0, seed=13)


@dataclass(frozen=True)
class RecogniserRecipe:
    """A batch is `schedule.batch` pictures: half as many people, two pictures of each."""

    network: TransFaceConfig
    schedule: Schedule


@dataclass(frozen=True)
class PortraitsRecipe:
    """The set that base model and adapter are trained on: `looks` pictures of each of `people`."""

    people: int = 3008
    looks: int = 8
    seed: int = 61


@dataclass(frozen=True)
class BaseRecipe:
    """text_drop: share of captions that are left empty, for guidance. phrase_drop: chance of each phrase to be left
    out, on average. face_weight, feature_weight: how much more the loss counts in the face, and about eyes and mouth;
    weber: and in a dark face (`settings.Loss.weber`). compile: the U-Net, which pays from about a thousand steps on."""

    network: BaseConfig = BaseConfig()
    schedule: Schedule = Schedule(steps=6700, batch=32, lr=3e-3, warmup=150, hold=4800, ema=0.05, seed=71)
    text_drop: float = 0.1
    phrase_drop: float = 0.25
    face_weight: float = 4.0
    feature_weight: float = 12.0
    weber: float = 1.0
    compile: bool = True

    def condition(self) -> Condition:
        """Without a face: only the words matter."""
        return Condition(text_drop=self.text_drop, phrase_drop=self.phrase_drop, face_drop=0.0)


@dataclass(frozen=True)
class AdapterRecipe:
    """As `AdapterTraining`, without what the other parts give: base model, encoder and portraits."""

    base: BaseModel = BaseModel()
    adapter: NewAdapter = NewAdapter(
        resampler=ResamplerConfig(
            input_width=160, width=128, depth=2, heads=4, head_width=32, queries=16, output_width=160
        ),
        warm_up=Schedule(steps=700, batch=96, lr=2e-3, warmup=30, ema=0.05, seed=82),
    )
    condition: Condition = Condition(phrase_drop=0.25)
    loss: Loss = Loss(
        fair=0.0,
        increment="whole",
        output_fair=((0, 0.0), (6987, 0.0), (7087, 1.0)),
        face_weight=3.0,
        weber=1.0,
        feature_weight=6.0,
        high_noise=1.4,
        identity=0.5,
        identity_below=0.8,
    )
    schedule: Schedule = Schedule(steps=8187, batch=32, lr=2.5e-3, warmup=20, hold=7567, ema=0.05, seed=81)
    validation: Validation = Validation(every=0, people=0)


@dataclass(frozen=True)
class ReaderRecipe:
    """The attribute reader: channels of its levels, and its hidden layer."""

    widths: tuple[int, ...] = (24, 48, 80, 112)
    hidden: int = 128
    schedule: Schedule = Schedule(steps=900, batch=32, lr=4e-3, seed=41)


@dataclass(frozen=True)
class DetectorRecipe:
    network: AvatarNetConfig = AvatarNetConfig()
    schedule: Schedule = Schedule(steps=900, batch=32, lr=4e-3, seed=51)


def _encoder() -> RecogniserRecipe:
    return RecogniserRecipe(
        TransFaceConfig(patch_size=16, width=160, depth=6, heads=5, embedding_size=96),
        Schedule(steps=1200, batch=64, lr=4e-3, ema=0.05, weight_decay=0.01, seed=21),
    )


def _judge() -> RecogniserRecipe:
    return RecogniserRecipe(
        TransFaceConfig(patch_size=16, width=128, depth=5, heads=4, embedding_size=64),
        Schedule(steps=1200, batch=64, lr=4e-3, ema=0.05, weight_decay=0.01, seed=31),
    )


@dataclass(frozen=True)
class WorldConfig:
    """The whole recipe; the names are those of the parts.

    start: "nothing", or "bundle": autoencoder, encoder, judges and detector are taken over from the embedded model as
    they are, and decoder, base model and adapter go on from its weights.
    """

    recipe: Literal["world"] = "world"
    start: Literal["nothing", "bundle"] = "nothing"
    autoencoder: AutoencoderRecipe = AutoencoderRecipe()
    decoder: DecoderRecipe = DecoderRecipe()
    encoder: RecogniserRecipe = field(default_factory=_encoder)
    portraits: PortraitsRecipe = PortraitsRecipe()
    base: BaseRecipe = BaseRecipe()
    adapter: AdapterRecipe = AdapterRecipe()
    judge: RecogniserRecipe = field(default_factory=_judge)
    reader: ReaderRecipe = ReaderRecipe()
    face_detector: DetectorRecipe = DetectorRecipe()
