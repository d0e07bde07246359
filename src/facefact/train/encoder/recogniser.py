"""Face recognisers of the world: the adapter's encoder (a small TransFace on aligned heads) and the independent judge.

Loss: angular-margin softmax (CosFace, Wang et al. 2018: s (cos - m) on the right class; ArcFace, Deng et al. 2019:
s cos(angle + m)). Where people are unlimited, the class centres are not learned: in a batch of n people with two
pictures each, the other picture's embedding is the centre. For a finite set of people they are (`RecogniserLoss`). The
world also knows the identity factors, and the embedding is asked for them (squared error): dense supervision that saves
most of the training. TransFace's own additions, DPAP and EHSM, are in `patch_augmentation`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.encoder import TransFace
from facefact.metrics.views import to_pixels
from facefact.train.encoder.patch_augmentation import PatchAugmentation, perturb_dominant, sample_weights, token_entropy
from facefact.train.engine.loop import Batches
from facefact.train.losses.margin import Margin, angular_margin_loss, class_margin_loss
from facefact.types import UserError
from facefact.world import IDENTITY, Look, Person, Rendering, look, person, render, training_seed

Crop = Callable[[Rendering, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Population:
    """Who is learned from. people: 0 for unlimited ones, as many as there are steps for; else so many, `looks` pictures
    of each (0: unlimited), drawn from `seed`: what a collected data set is like."""

    people: int = 0
    looks: int = 0
    seed: int = 0

    def person(self, index: int) -> Person:
        return person(self._seed(1, index))

    def look(self, index: int, number: int) -> Look:
        return look(self._seed(2, index, number))

    def _seed(self, *key: int) -> int:
        return training_seed(np.random.default_rng((self.seed, *key)))

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Look, Look]:
        """Two different looks of a person."""
        if self.looks == 0:
            return look(training_seed(rng)), look(training_seed(rng))
        first, second = rng.choice(self.looks, 2, replace=False)
        return self.look(index, int(first)), self.look(index, int(second))

    def check(self, where: str, people_per_batch: int) -> None:
        """UserError when no batch can be drawn."""
        if self.people and self.people < people_per_batch:
            raise UserError(f"setting {where}.people: a batch has {people_per_batch} people, {self.people} are too few")
        if self.looks == 1 or (self.looks and not self.people):
            raise UserError(f"setting {where}.looks: needs a finite number of people, and two looks or more of each")


UNLIMITED = Population()


def pair_batches(seed: int, people: int, crop: Crop, rank: int = 0, population: Population = UNLIMITED) -> Batches:
    """Batches of `people` persons with two looks each: pixels (2 people, 3, 112, 112) in [-1, 1],
    factors (people, 22), and of a finite population labels (people,) int64."""

    def batches(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            labels = rng.choice(population.people, people, replace=False) if population.people else None
            if labels is None:
                who = [person(training_seed(rng)) for _ in range(people)]
                looks = [(one, look(training_seed(rng))) for _ in range(2) for one in who]
            else:
                who = [population.person(int(label)) for label in labels]
                pairs = [population.pair(int(label), rng) for label in labels]
                looks = [(one, pair[i]) for i in range(2) for one, pair in zip(who, pairs, strict=True)]
            pixels = torch.stack([to_pixels(crop(render(one, shown), rng)) for one, shown in looks])
            factors = torch.tensor(np.stack([one.factors for one in who]), dtype=torch.float32)
            batch = {"pixels": pixels, "factors": factors}
            yield batch if labels is None else batch | {"labels": torch.from_numpy(labels)}
            step += 1

    return batches


@dataclass(frozen=True)
class RecogniserLoss:
    """What a recogniser learns from; the defaults are the bundle's.

    kind, margin, scale: of the angular margin (ArcFace's margin is an angle in radians). classes: people with learned
    centres, 0: the batch is its own centres. factor_weight: of the regression onto the identity factors, which only the
    world knows; 0: the pure published way. patch_augmentation, hard_samples: DPAP and EHSM.
    """

    kind: Margin = "cosface"
    margin: float = 0.2
    scale: float = 24.0
    classes: int = 0
    factor_weight: float = 4.0
    patch_augmentation: PatchAugmentation = PatchAugmentation()
    hard_samples: bool = False

    def check(self, where: str) -> None:
        """UserError when a value makes no sense."""
        for name in ("margin", "scale", "classes", "factor_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"setting {where}.{name} must not be below 0, as {getattr(self, name)} is")
        self.patch_augmentation.check(f"{where}.patch_augmentation")


PLAIN = RecogniserLoss()


class RecogniserStage(nn.Module):
    """A recogniser and its loss on the batches of `pair_batches`."""

    def __init__(self, recogniser: TransFace, loss: RecogniserLoss = PLAIN):
        super().__init__()
        self.recogniser, self.loss = recogniser, loss
        size = recogniser.config.embedding_size
        self.factors = nn.Linear(size, len(IDENTITY)) if loss.factor_weight else None
        self.class_embeddings = nn.Parameter(size**-0.5 * torch.randn(loss.classes, size)) if loss.classes else None

    def embedding_parameters(self) -> list[nn.Parameter]:
        """What is nothing for Muon: the patches' projection, and the classes' table, whose rows get gradients of their
        own."""
        patches = list(self.recogniser.patch_embed.parameters())
        return patches if self.class_embeddings is None else [*patches, self.class_embeddings]

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `pair_batches` makes it. -> scalars: loss, its terms, and with EHSM the mean weight."""
        gated, _ = self.recogniser.gated(self.recogniser(self.augmented(batch["pixels"])))
        embeddings = self.recogniser.embed_gated(gated)
        weights = sample_weights(token_entropy(gated)) if self.loss.hard_samples else None
        terms = {"margin": self.margin_loss(embeddings, batch, weights)}
        loss = terms["margin"]
        if self.factors is not None:
            guess = self.factors(embeddings).float()
            terms["factors"] = F.mse_loss(guess, batch["factors"].repeat(2, 1))
            loss = loss + self.loss.factor_weight * terms["factors"]
        if weights is not None:
            terms["weight"] = weights.mean()
        return {"loss": loss, **terms}

    def margin_loss(self, embeddings: Tensor, batch: dict[str, Tensor], weights: Tensor | None) -> Tensor:
        """Scalar. embeddings: (2 people, d). weights: (2 people,) of the pictures, None for equal ones."""
        how = self.loss
        if self.class_embeddings is None:
            return angular_margin_loss(embeddings, scale=how.scale, margin=how.margin, kind=how.kind, weights=weights)
        return class_margin_loss(
            embeddings,
            self.class_embeddings,
            batch["labels"].repeat(2),
            scale=how.scale,
            margin=how.margin,
            kind=how.kind,
            weights=weights,
        )

    @torch.no_grad()
    def augmented(self, pixels: Tensor) -> Tensor:
        """DPAP: some of the (n, 3, size, size) pictures, perturbed where the network itself looks most."""
        settings = self.loss.patch_augmentation
        if settings.probability == 0 or not self.training:
            return pixels
        chosen = (torch.rand(len(pixels), device=pixels.device) < settings.probability).nonzero()[:, 0]
        if len(chosen) == 0:
            return pixels
        gates = self.recogniser.gated(self.recogniser(pixels[chosen]))[1]
        side = self.recogniser.config.patch_size
        return pixels.index_copy(0, chosen, perturb_dominant(pixels[chosen], gates, pixels, side, settings))
