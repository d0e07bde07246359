"""The training of an adapter from its settings: `recipe: adapter`, for instance configs/smoke.yaml.

    settings -> source -> cache of everything frozen -> resampler's warm-up -> steps -> adapter

A run's folder holds config.yaml, environment.json, metrics.jsonl, checkpoints/, validation/, report.html, and in the
end adapter/ with its card. The same command again goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facefact.device import training_device
from facefact.train.adapter.condition_loss import HeldOut, target_and_own
from facefact.train.adapter.judged import Judge
from facefact.train.adapter.opened import Opened, open_inputs, open_training
from facefact.train.adapter.painted import Painter
from facefact.train.adapter.references import Reference
from facefact.train.adapter.validation import LeakSamples, LossSamples, Validator, of_adapter
from facefact.train.engine.loop import Watch, fit
from facefact.train.engine.schedule import resolved
from facefact.train.material.cache import Cache
from facefact.train.material.encode import token_ids
from facefact.train.material.frozen import Frozen
from facefact.train.material.live_pipeline import live_pipeline
from facefact.train.material.samples import Sample
from facefact.train.material.sources import as_they_are
from facefact.train.report.card import write_card
from facefact.train.report.layers import warnings
from facefact.train.report.page import LONE, LONELY, write_environment, write_report
from facefact.train.report.run_folder import RunFolder
from facefact.train.settings import AdapterTraining, note_settings, tree_of, without_folders


def train_adapter(config: AdapterTraining, out: Path, *, warm_up_folder: Path | None = None) -> Path:
    """Train in the folder `out`, or go on there; returns the directory of the finished adapter.

    warm_up_folder: where the resampler's warm-up is kept, None for one in the run; two runs that differ in the loss
    alone may share it. UserError: anything that is wrong with settings, data or base model, before step 0.
    """
    config = resolved(config, training_device())
    inputs = open_inputs(config)
    process = inputs.process
    if process.is_main_process:
        note_settings(config, out)
        write_environment(out, processes=process.num_processes, precision=config.schedule.precision)
    process.wait_for_everyone()

    opened = open_training(config, inputs, out, warm_up_folder=warm_up_folder)
    if process.is_main_process:
        warn_of_lonely_people(opened)
    if config.base.compile:
        opened.frozen.unet.compile()
    validator = new_validator(opened) if process.is_main_process else None
    finished = fit(
        opened.stage,
        opened.batches(),
        config.schedule,
        out,
        watch=validation_watch(config, out, validator),
        trackers=trackers(config),
        config=asdict(config),
    )
    opened.adapter.detach()
    if finished and process.is_main_process:
        write_results(opened, out)
    process.wait_for_everyone()
    return out / "adapter"


def warn_of_lonely_people(opened: Opened) -> None:
    """On the screen, before the first step: many people have one picture, and other ones will be asked for."""
    counts = opened.material.learn[opened.material.largest].counts()
    lonely, people = counts["persons_of_one_picture"], counts["persons"]
    if opened.config.condition.shuffle != 0.0 and lonely > LONE * people:
        tell(f"{lonely:,} of {people:,} people have one picture only. {LONELY}")


def tell(line: str) -> None:
    """Beside the progress bars."""
    tqdm.write(f"facefact: {line}", file=sys.stderr)


def write_results(opened: Opened, out: Path) -> None:
    """The finished adapter, its card, and the report; on the screen what is wrong with its layers."""
    recipe, material = without_folders(tree_of(opened.config)), opened.material
    opened.adapter.save_pretrained(out / "adapter", about={"base": recipe["base"]["source"], "recipe": recipe})
    counts = material.learn[material.largest].counts()
    write_card(out, counted={"people": counts["persons"], "pictures": counts["usable"]})
    write_report(out)
    for line in warnings(RunFolder.read(out)):
        tell(line)


# Validation


def new_validator(opened: Opened) -> Validator | None:
    """None where the settings want no validation, or nobody is held out."""
    from facefact.faces import get_detector

    config, frozen, source = opened.config, opened.frozen, as_they_are(opened.inputs.source)
    size = opened.material.largest
    cache = opened.material.held_out[size]
    if not config.validation.every or not len(cache):
        return None
    numbers = {key: i for i, key in enumerate(source.keys())}
    shown: list[Sample] = []
    for rows in cache.people.groups()[: config.validation.people]:
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
    painter = Painter(pipe, opened.adapter, prompts, config.validation, size=size)
    people = [Reference.of(one) for one in shown]
    judge = Judge(opened.adapter, people, detector=get_detector())
    has_layers = bool(opened.adapter.gates())  # a peer has no increments to measure
    leak = LeakSamples(leak_batch(config, cache, frozen), frozen.scheduler) if has_layers else None
    return Validator(painter, people, judge, leak, loss_samples(opened, cache))


def loss_samples(opened: Opened, cache: Cache) -> LossSamples | None:
    """Whose losses are compared, of the held-out pictures; None where the settings want none, or too few people have
    two pictures."""
    wanted, frozen = opened.config.validation.loss_people, opened.frozen
    if not wanted or len(target_and_own(cache)) < 2:
        return None
    live = opened.config.data.text == "live"
    encode = (lambda captions: {"ids": token_ids(frozen, captions)}) if live else None
    held_out = HeldOut.of(cache, frozen.device, people=wanted, encode=encode)
    return LossSamples(opened.stage, held_out, at_once=opened.config.schedule.batch)


def leak_batch(config: AdapterTraining, cache: Cache, frozen: Frozen, count: int = 8) -> dict[str, Tensor]:
    """Held-out pictures for the leak meter, of as many people as there are and of one shape, each with its own face: as
    `measure_leak` reads it."""
    rows = cache.alike(cache.people.spread(count))
    made = cache.gather(rows) | {"tokens": cache.tokens_of(rows)[:, None]}
    made |= {"face_dropped": torch.zeros(len(rows), dtype=torch.bool), "person": torch.from_numpy(cache.persons[rows])}
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


def validation_watch(config: AdapterTraining, out: Path, validator: Validator | None) -> Watch:
    """After each step: the validation, when it is due, and the report of what is there so far."""
    every, last = config.validation.every, config.schedule.steps

    def validate(step: int, stage: nn.Module, average: Mapping[str, Tensor]) -> dict[str, float] | None:
        if validator is None or (step % every and step != last):
            return None
        figures = validator.run(step, out, weights=of_adapter(average))
        write_report(out)
        return {f"validation/{name}": value for name, value in figures.items()}

    return validate
