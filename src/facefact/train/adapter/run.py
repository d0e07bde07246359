"""The training of an adapter from its settings: `recipe: adapter`, for instance configs/smoke.yaml.

    settings -> source -> cache of everything frozen -> resampler's warm-up -> steps -> adapter

A run's folder holds config.yaml, environment.json, metrics.jsonl, checkpoints/, validation/, report.html, and in the
end adapter/ with its card. The same command again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from accelerate import PartialState
from torch import Tensor, nn

from facefact import checkpoint
from facefact.config import from_tree
from facefact.demo import BUNDLE
from facefact.device import training_device
from facefact.face_adapter import FaceAdapter
from facefact.train.adapter import identity
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.validation import Reference, Validator, of_adapter
from facefact.train.engine.loop import fit
from facefact.train.engine.schedule import WITHOUT_EFFECT, resolved
from facefact.train.material import conditions
from facefact.train.material.base import open_frozen
from facefact.train.material.cache import Cache
from facefact.train.material.encode import token_ids
from facefact.train.material.fill import fill
from facefact.train.material.frozen import Frozen, on_device
from facefact.train.material.live_pipeline import live_pipeline
from facefact.train.material.samples import Sample, Source
from facefact.train.material.sources import held_out, open_source
from facefact.train.report.card import write_card
from facefact.train.report.page import write_environment, write_report
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Material:
    """What is learned from and what is kept for validation, by picture size."""

    learn: Mapping[int, Cache]
    held_out: Mapping[int, Cache]

    @property
    def largest(self) -> int:
        return max(self.learn)


def train_adapter(config: AdapterTraining, out: Path, *, before: Path | None = None) -> Path:
    """Train in the folder `out`, or go on there; returns the directory of the finished adapter.

    before: the folder of what is trained before the diffusion (the resampler's warm-up), None for one in the run; two
    runs that differ in the loss alone may share it. UserError: anything that is wrong with
    settings, data or base model, before step 0.
    """
    config.check()
    config = resolved(config, training_device())
    process = PartialState(cpu=not torch.cuda.is_available())
    source = open_source(config.data)
    frozen = open_frozen(config.base, config.adapter, bundle=BUNDLE)
    if config.data.text == "live" and frozen.is_xl:
        raise UserError("SDXL's text models are too large to run in every step: set data.text=cached")
    if process.is_main_process:
        note_settings(config, out)
        write_environment(out, processes=process.num_processes, precision=config.schedule.precision)
    process.wait_for_everyone()

    material = fill_caches(config, source, frozen, out, process)
    adapter = new_adapter(config, frozen)
    before = before or out / "before"
    warm_up(config, adapter, material, before)
    shown, centres = shown_identity(config, frozen, material)
    frozen.to(process.device)
    stage = FactStage(
        adapter,
        frozen.unet,
        frozen.scheduler,
        config.loss,
        shown=shown,
        centres=centres,
        text_encoder=frozen.text_encoders[0] if config.data.text == "live" else None,
    )
    stage.long_attention = min(material.learn) // frozen.factor >= 32
    if config.base.compile:
        frozen.unet.compile()
    validator = new_validator(config, frozen, adapter, source, material) if process.is_main_process else None
    finished = fit(
        stage,
        step_batches(config, material, frozen, process),
        config.schedule,
        out,
        watch=watch(config, out, validator),
        trackers=trackers(config),
        config=asdict(config),
    )
    adapter.detach()
    if finished and process.is_main_process:
        recipe = without_folders(tree_of(config))
        adapter.save_pretrained(out / "adapter", about={"base": recipe["base"]["source"], "recipe": recipe})
        counts = material.learn[material.largest].counts()
        write_card(out, counted={"people": counts["persons"], "pictures": counts["usable"]})
        write_report(out)
    process.wait_for_everyone()
    return out / "adapter"


# Settings


def tree_of(config: AdapterTraining) -> dict[str, Any]:
    """The settings as plain values, as YAML has them."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, Path) else value

    return plain(asdict(config))


def without_folders(tree: Any) -> Any:
    """The settings with absolute paths cut to their last part: weights travel, and where things lay is nobody's
    business."""
    if isinstance(tree, dict):
        return {key: without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_folders(value) for value in tree]
    return Path(tree).name if isinstance(tree, str) and Path(tree).expanduser().is_absolute() else tree


def note_settings(config: AdapterTraining, out: Path) -> None:
    """Write config.yaml. UserError: the folder was begun with settings that give another result."""
    path = out / CONFIG
    if path.is_file():
        old = from_tree(AdapterTraining, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        if changed := sorted(differing(decisive(tree_of(old)), decisive(tree_of(config)))):
            raise UserError(
                f"{out} was begun with other settings ({', '.join(changed[:3])}): give another folder, or remove it"
            )
    out.mkdir(parents=True, exist_ok=True)
    with checkpoint.replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(tree_of(config), sort_keys=False), encoding="utf-8")


def decisive(tree: dict[str, Any]) -> dict[str, Any]:
    """Without what changes no result (how often it saves, where the cache lies, who is told)."""
    kept = {name: value for name, value in tree.items() if name not in ("validation", "trackers", "license")}
    for group in (kept["schedule"], kept["adapter"]["warm_up"] or {}):
        for name in WITHOUT_EFFECT:
            group.pop(name, None)
    kept["data"].pop("cache")
    kept["base"].pop("compile")
    return kept


def differing(a: Any, b: Any, where: str = "") -> set[str]:
    """Dotted keys of two trees whose values differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {where}
    return {
        key
        for name in a.keys() | b.keys()
        for key in differing(a.get(name), b.get(name), f"{where}.{name}".lstrip("."))
    }


# Material


def fill_caches(config: AdapterTraining, source: Source, frozen: Frozen, out: Path, process: PartialState) -> Material:
    """Everything frozen, computed where the cache lacks it, for each size of the curriculum."""
    folder = config.data.cache or out / "cache"
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
    parts = {size: split_people(one, held_out(source, config.data)) for size, one in sets.items()}
    return Material({size: a for size, (a, _) in parts.items()}, {size: b for size, (_, b) in parts.items()})


def split_people(cache: Cache, last: int) -> tuple[Cache, Cache]:
    """The `last` people apart from all others. UserError: too few people are usable."""
    people = np.unique(cache.persons)
    if len(people) < last + 2:
        raise UserError(
            f"{len(people)} people are usable: training needs two besides the {last} of the validation; "
            f"left out: {cache.counts()['left_out'] or 'nobody'}"
        )
    later = np.isin(cache.persons, people[len(people) - last :])
    return cache.take(np.flatnonzero(~later)), cache.take(np.flatnonzero(later))


def step_batches(config: AdapterTraining, material: Material, frozen: Frozen, process: PartialState) -> Any:
    live = config.data.text == "live"
    return conditions.batches(
        lambda step: material.learn[config.data.size_at(step)],
        config.condition,
        batch=config.schedule.batch,
        seed=config.schedule.seed,
        accumulate=config.schedule.accumulate,
        tokenize=(lambda captions: token_ids(frozen, captions)) if live else None,
        rank=process.process_index,
        processes=process.num_processes,
    )


# Before the diffusion


def new_adapter(config: AdapterTraining, frozen: Frozen) -> FaceAdapter:
    """A fresh one, or the one to go on from. UserError: it does not fit the base model or the encoder."""
    torch.manual_seed(config.schedule.seed)
    if config.adapter.start is None:
        return FaceAdapter.new(
            frozen.unet, encoder=frozen.encoder, resampler_config=config.adapter.resampler, gate=config.adapter.gate
        )
    start = FaceAdapter.from_pretrained(config.adapter.start)
    if checkpoint.content_hash(start.encoder.state_dict()) != frozen.hashes["encoder"]:
        raise UserError(
            f"adapter.start={config.adapter.start} was trained with another face encoder: set adapter.encoder to it too"
        )
    return start.float()


def warm_up(config: AdapterTraining, adapter: FaceAdapter, material: Material, before: Path) -> None:
    """Leaves the resampler as its warm-up made it."""
    plan = config.adapter.warm_up
    if plan is None:
        return
    stage = identity.ResamplerStage(adapter.resampler)
    pairs = identity.pair_batches(material.learn[material.largest], people=plan.batch, seed=plan.seed)
    fit(stage, pairs, plan, before / "resampler")
    adapter.train()


def shown_identity(
    config: AdapterTraining, frozen: Frozen, material: Material
) -> tuple[identity.ShownIdentity | None, Tensor | None]:
    """What the identity loss needs, and the centres of the people; None, None without that loss."""
    if config.loss.identity == 0.0:
        return None, None
    centres = identity.person_centres(frozen.encoder, material.learn[material.largest])
    return identity.ShownIdentity(frozen.vae, frozen.encoder), centres.cpu()


# Looking at it


def new_validator(
    config: AdapterTraining, frozen: Frozen, adapter: FaceAdapter, source: Source, material: Material
) -> Validator | None:
    """None where the settings want no validation, or nobody is held out."""
    from facefact.faces import get_detector

    size = material.largest
    cache = material.held_out[size]
    if not config.validation.every or not len(cache):
        return None
    numbers = {key: i for i, key in enumerate(source.keys())}
    shown: list[Sample] = []
    for rows in identity.by_person(cache)[: config.validation.people]:
        sample = source.sample(numbers[cache.keys[rows[0]]], size)
        assert sample is not None, "the cache holds usable samples"
        shown.append(sample)
    prompts = config.validation.prompts or tuple(dict.fromkeys(one.caption for one in shown))[:3]
    names = {"text_encoder_2": 1, "tokenizer_2": 1} if frozen.is_xl else {}
    pipe = live_pipeline(
        unet=frozen.unet,
        vae=frozen.vae,
        scheduler=frozen.scheduler,
        text_encoder=frozen.text_encoders[0],
        tokenizer=frozen.tokenizers[0],
        **{name: getattr(frozen, name.removesuffix("_2") + "s")[i] for name, i in names.items()},
    )
    return Validator(
        pipe,
        adapter,
        [Reference.of(one) for one in shown],
        prompts,
        config.validation,
        detector=get_detector(),
        samples=leak_samples(config, cache, frozen),
        scheduler=frozen.scheduler,
        size=size,
    )


def leak_samples(config: AdapterTraining, cache: Cache, frozen: Frozen, count: int = 8) -> dict[str, Tensor]:
    """A batch of held-out pictures for the leak meter, each with its own face."""
    rows = np.arange(min(count, len(cache)))
    made = cache.gather(rows) | {"tokens": cache.tokens_of(rows)[:, None]}
    made["face_dropped"] = torch.zeros(len(rows), dtype=torch.bool)
    if config.data.text == "cached":
        return made | cache.text_of(rows)
    captions = [", ".join(phrase.text for phrase in cache.phrases(int(i))) for i in rows]
    with torch.no_grad():
        return made | {"text": frozen.text_encoders[0](token_ids(frozen, captions).to(frozen.device))[0]}


def trackers(config: AdapterTraining) -> tuple[str, ...]:
    """Those that were asked for; else TensorBoard where it works (the extra `train` brings it; installed, it may still
    fail: newer ones want another protobuf than MediaPipe)."""
    if config.trackers is not None:
        return config.trackers
    try:
        import torch.utils.tensorboard  # noqa: F401
    except Exception:
        return ()
    return ("tensorboard",)


def watch(config: AdapterTraining, out: Path, validator: Validator | None) -> Any:
    """After each step: the validation, when it is due, and the report of what is there so far."""
    every, last = config.validation.every, config.schedule.steps

    def look(step: int, stage: nn.Module, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        if validator is None or (step % every and step != last):
            return None
        figures = validator.run(step, out, weights=of_adapter(average))
        write_report(out)
        return {f"validation/{name}": value for name, value in figures.items()}

    return look
