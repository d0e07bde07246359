"""From settings to a training that is ready for its first step: one way for trainings, benchmarks and ablations.

settings -> source, base model, encoder -> cache of everything frozen -> adapter -> its resampler's warm-up -> stage
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from facefact import checkpoint
from facefact.demo import BUNDLE, JUDGES
from facefact.face_adapter import FaceAdapter
from facefact.train.adapter import identity
from facefact.train.adapter.fact import FactStage
from facefact.train.engine.loop import Batches, fit
from facefact.train.material import conditions
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.encode import token_ids
from facefact.train.material.fill import fill
from facefact.train.material.frozen import Frozen, on_device
from facefact.train.material.regular import RegularSource, check_shapes, with_regular
from facefact.train.material.samples import Source
from facefact.train.material.sources import held_out, open_regular, open_source, with_views
from facefact.train.peers.decoupled import DecoupledAdapter, open_adapter
from facefact.train.peers.last_layer import LastLayerAdapter
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

EMBEDDED = {"bundle": BUNDLE / "adapter", "bundle_without_fair": JUDGES / "adapter_without_fair"}
LONG_ATTENTION = 32  # latents of so many places a side and more: see `loop.attention_kernels`


@dataclass(frozen=True)
class Inputs:
    """What the settings name, and the process that reads it; nothing is computed yet."""

    process: PartialState
    source: Source
    frozen: Frozen
    regular: RegularSource | None = None


@dataclass(frozen=True)
class Opened:
    """A training before its first step. stage: on the CPU but for the base model, its adapter attached."""

    config: AdapterTraining
    inputs: Inputs
    material: Material
    stage: FactStage

    @property
    def frozen(self) -> Frozen:
        return self.inputs.frozen

    @property
    def adapter(self) -> FaceAdapter:
        return self.stage.adapter

    @property
    def device(self) -> torch.device:
        return self.inputs.process.device

    def batches(self, size: int | None = None) -> Batches:
        """number -> iterator of this process's batches from there, on the CPU. size: pictures in one, None for the
        schedule's."""
        config, process = self.config, self.inputs.process
        live = config.data.text == "live"
        how: dict[str, Any] = {
            "batch": size or config.schedule.batch,
            "seed": config.schedule.seed,
            "accumulate": config.schedule.accumulate,
            "tokenize": (lambda captions: token_ids(self.frozen, captions)) if live else None,
            "rank": process.process_index,
            "processes": process.num_processes,
        }
        of_people = conditions.batches(
            lambda step: self.material.learn[config.data.size_at(step)], config.condition, **how
        )
        if not self.material.regular:
            return of_people
        regular_at = lambda step: self.material.regular[config.data.size_at(step)]  # noqa: E731
        return with_regular(of_people, regular_at, config.data.regular.share, **how)


def open_inputs(config: AdapterTraining) -> Inputs:
    """UserError: anything that is wrong with settings, data or base model, before anything is computed or written."""
    config.check()
    process = PartialState(cpu=not torch.cuda.is_available())
    source, frozen = open_source(config.data), open_frozen(config.base, config.adapter, bundle=BUNDLE)
    regular = open_regular(config.data, multiple=frozen.multiple)
    inputs = Inputs(process, with_views(source, config.data, multiple=frozen.multiple), frozen, regular)
    if config.data.text == "live" and inputs.frozen.is_xl:
        raise UserError("SDXL's text models are too large to run in every step: set data.text=cached")
    return inputs


def open_training(
    config: AdapterTraining, inputs: Inputs, folder: Path, *, warm_up_folder: Path | None = None
) -> Opened:
    """Fill the cache where it lacks something, warm the resampler up, attach the adapter to the base model.

    folder: of the run; its `cache` is used where the settings name none. warm_up_folder: where the warm-up is kept, and
    gone on with; None for `before` in `folder`. UserError: settings and data that do not go together.
    """
    frozen = inputs.frozen
    material = fill_caches(config, inputs, folder)
    adapter = new_adapter(config, frozen)
    warm_up(config, adapter, material, warm_up_folder or folder / "before", rank=inputs.process.process_index)
    shown, centres = shown_identity(config, frozen, material)
    frozen.to(inputs.process.device)
    stage = FactStage(
        adapter,
        frozen.unet,
        frozen.scheduler,
        config.loss,
        shown=shown,
        centres=centres,
        text_encoder=frozen.text_encoders[0] if config.data.text == "live" else None,
    )
    stage.long_attention = min(material.learn) // frozen.factor >= LONG_ATTENTION
    return Opened(config, inputs, material, stage)


# Material


@dataclass(frozen=True)
class Material:
    """What is learned from and what is kept for validation, by picture size; and pictures without a person, if any."""

    learn: Mapping[int, Cache]
    held_out: Mapping[int, Cache]
    regular: Mapping[int, Cache] = field(default_factory=dict)

    @property
    def largest(self) -> int:
        return max(self.learn)


def fill_caches(config: AdapterTraining, inputs: Inputs, run: Path) -> Material:
    """Everything frozen, computed where the cache lacks it, for each size of the curriculum."""
    sets = filled(config, inputs, inputs.source, run)
    parts = {size: split_people(one, held_out(inputs.source, config.data)) for size, one in sets.items()}
    learn, kept = ({size: part[which] for size, part in parts.items()} for which in (0, 1))
    regular = filled(config, inputs, inputs.regular, run) if inputs.regular else {}
    for size, one in regular.items():
        check_shapes(one, learn[size])
    return Material(learn, kept, regular)


def filled(config: AdapterTraining, inputs: Inputs, source: Source, run: Path) -> dict[int, Cache]:
    """By picture size: all of one source."""
    process, frozen = inputs.process, inputs.frozen
    folder = config.data.cache or run / "cache"
    sets: dict[int, Cache] = {}
    for size in sorted({size for _, size in config.data.sizes()}):
        with on_device(frozen, process.device):
            index = fill(
                source,
                frozen,
                folder,
                size=size,
                text=config.data.text == "cached",
                rank=process.process_index,
                world_size=process.num_processes,
            )
        process.wait_for_everyone()
        sets[size] = Cache.open(index)
    return sets


def split_people(cache: Cache, last: int) -> tuple[Cache, Cache]:
    """The `last` people apart from all others. UserError: too few people are usable."""
    people = np.unique(cache.persons)
    if len(people) < last + 2:
        raise UserError(
            f"{len(people)} people are usable: training needs two besides the {last} of the validation; "
            f"left out: {cache.counts()['left_out'] or 'nobody'}"
        )
    later = np.isin(cache.persons, people[len(people) - last :])
    return cache.take(np.flatnonzero(~later)), cache.take(np.flatnonzero(later & cache.first_views))


# The adapter


def new_adapter(config: AdapterTraining, frozen: Frozen) -> FaceAdapter:
    """A fresh one, or the one to go on from. UserError: it does not fit the base model or the encoder."""
    torch.manual_seed(config.schedule.seed)
    peer = config.adapter.peer
    if config.adapter.start is None and peer is not None and peer.is_fact:
        return LastLayerAdapter.fresh(frozen.unet, encoder=frozen.encoder, peer=peer, gate=config.adapter.gate)
    if config.adapter.start is None and peer is not None:
        return DecoupledAdapter.fresh(
            frozen.unet, encoder=frozen.encoder, peer=peer, resampler_config=config.adapter.resampler
        )
    if config.adapter.start is None:
        return FaceAdapter.new(
            frozen.unet,
            encoder=frozen.encoder,
            resampler_config=config.adapter.resampler,
            gate=config.adapter.gate,
            blocks=config.adapter.blocks,
        )
    start = open_adapter(EMBEDDED.get(config.adapter.start, config.adapter.start))
    if checkpoint.content_hash(start.encoder.state_dict()) != frozen.hashes["encoder"]:
        raise UserError(
            f"adapter.start={config.adapter.start} was trained with another face encoder: set adapter.encoder to it too"
        )
    if config.adapter.blocks is not None:
        start = start.with_blocks(config.adapter.blocks)
    return start.float()


def warm_up(config: AdapterTraining, adapter: FaceAdapter, material: Material, folder: Path, *, rank: int) -> None:
    """Leaves the resampler as its warm-up made it. folder: where that is kept. rank: of the process."""
    plan = config.adapter.warm_up
    if plan is None:
        return
    stage = identity.ResamplerStage(adapter.resampler)
    pairs = identity.pair_batches(material.learn[material.largest], people=plan.batch, seed=plan.seed, rank=rank)
    fit(stage, pairs, plan, folder / "resampler")
    adapter.train()


def shown_identity(
    config: AdapterTraining, frozen: Frozen, material: Material
) -> tuple[identity.ShownIdentity | None, Tensor | None]:
    """What the identity loss needs: who is shown, and the centres of the people, (people, d) on the CPU; None, None
    without that loss."""
    if config.loss.identity == 0.0:
        return None, None
    centres = identity.person_centres(frozen.encoder, material.learn[material.largest])
    return identity.ShownIdentity(frozen.vae, frozen.encoder), centres.cpu()
