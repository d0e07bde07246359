"""The recipe that makes the embedded bundle from nothing: a row of resumable parts, then everything in one place.

`build_bundle` with the same folder goes on where it stopped. Each of the functions here trains what its part's folder
does not hold yet, and leaves the result in `build.model(part)`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from facefact.demo import bundle_path, judges_path
from facefact.device import training_device
from facefact.encoder import TransFace
from facefact.encoder.files import load_transface, save_transface
from facefact.faces.avatar import save_avatar_net
from facefact.faces.avatar_net import AvatarNet
from facefact.metrics.reader import AttributeReader, ReaderConfig
from facefact.train.adapter import run as adapter_run
from facefact.train.bundle import autoencoder, base_model, decoder, detector, latents, reader
from facefact.train.bundle.assemble import assemble, load_base, save_pipeline, take_over
from facefact.train.bundle.config import AdapterRecipe, RecogniserRecipe, WorldConfig
from facefact.train.bundle.parts import PARTS, Build, is_done, last_record, require, write_done
from facefact.train.encoder import recogniser
from facefact.train.engine.loop import fit
from facefact.train.engine.schedule import resolved
from facefact.train.material import conditions
from facefact.train.material.cache import Cache
from facefact.train.material.encode import tokenize
from facefact.train.material.fill import fill
from facefact.train.material.frozen import Frozen, on_device
from facefact.train.material.world import WorldSource, aligned_head
from facefact.train.settings import AdapterTraining, Data
from facefact.types import UserError
from facefact.world import CHOICES

PIXELS = 128  # of the world's pictures
ASSEMBLE = "assemble"


def train_autoencoder(build: Build) -> None:
    recipe = build.config.autoencoder
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = autoencoder.new_autoencoder(recipe.network)
    crop_steps = int(plan.steps * recipe.network.crop_share)
    batches = autoencoder.portrait_batches(plan.seed, plan.batch, recipe.network, crop_steps, build.rank)
    fit(autoencoder.AutoencoderStage(made, recipe.network), batches, plan, build.folder("autoencoder"))
    if build.accelerator.is_main_process:
        made.to(memory_format=torch.contiguous_format)
        latents.normalise_latents(made, latents.render_pixels(recipe.latents_seed, recipe.latents))
        made.save_pretrained(build.model("autoencoder"))


def train_decoder(build: Build) -> None:
    """From the finished autoencoder's; the latents, and all that was trained on them, stay."""
    recipe = build.config.decoder
    plan = recipe.schedule
    made = AutoencoderKL.from_pretrained(build.model("autoencoder"))
    torch.manual_seed(plan.seed)
    stage = decoder.DecoderStage(
        made, face_weight=recipe.face_weight, feature_weight=recipe.feature_weight, weber=recipe.weber
    )
    fit(stage, decoder.portrait_crops(plan.seed, plan.batch, recipe.crop, build.rank), plan, build.folder("decoder"))
    if build.accelerator.is_main_process:
        made.to(memory_format=torch.contiguous_format).save_pretrained(build.model("decoder"))


def train_recogniser(build: Build, part: str, recipe: RecogniserRecipe, crop: recogniser.Crop) -> None:
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = TransFace(recipe.network)
    batches = recogniser.pair_batches(plan.seed, plan.batch // 2, crop, build.rank)
    fit(recogniser.RecogniserStage(made), batches, plan, build.folder(part))
    if build.accelerator.is_main_process:
        save_transface(made, build.model(part))


def train_encoder(build: Build) -> None:
    train_recogniser(build, "encoder", build.config.encoder, aligned_head)


def train_judge(build: Build) -> None:
    train_recogniser(build, "judge", build.config.judge, aligned_head)


def fill_portraits(build: Build) -> Cache:
    """The portraits that base model and adapter learn from, with latents and tokens computed once: what is missing of
    them. (The adapter's own run finds it all there.)"""
    frozen = frozen_without_base(build)
    with on_device(frozen, build.accelerator.device):
        index = fill(
            portrait_source(build.config),
            frozen,
            build.folder("portraits"),
            size=PIXELS,
            text=False,
            rank=build.rank,
            world_size=build.accelerator.num_processes,
        )
    build.accelerator.wait_for_everyone()
    return Cache.open(index)


def portrait_source(config: WorldConfig) -> WorldSource:
    return WorldSource(config.portraits.people, config.portraits.looks, config.portraits.seed)


def frozen_without_base(build: Build) -> Frozen:
    """Autoencoder and face encoder; the U-Net is one that knows nothing yet, and only says in what type it computes."""
    return Frozen(
        vae=AutoencoderKL.from_pretrained(build.model("autoencoder")).requires_grad_(False).eval(),
        unet=base_model.new_unet(build.config.base.network),
        text_encoders=(),
        tokenizers=(),
        scheduler=base_model.new_scheduler(),
        encoder=load_transface(build.model("encoder")).requires_grad_(False),
    )


def train_base(build: Build) -> None:
    recipe = build.config.base
    plan = recipe.schedule
    unet, text_encoder, tokenizer = begun_base(build.config)
    if recipe.compile:
        unet.compile()
    cache = fill_portraits(build)
    batches = conditions.batches(
        lambda step: cache,
        recipe.condition(),
        batch=plan.batch,
        seed=plan.seed,
        tokenize=lambda captions: tokenize(tokenizer, captions),
        rank=build.rank,
        processes=build.accelerator.num_processes,
    )
    stage = base_model.BaseStage(
        unet,
        text_encoder,
        base_model.new_scheduler(),
        face_weight=recipe.face_weight,
        feature_weight=recipe.feature_weight,
        weber=recipe.weber,
        factor=PIXELS // recipe.network.sample_size,
    )
    fit(stage, batches, plan, build.folder("base"))
    if build.accelerator.is_main_process:
        unet.to(memory_format=torch.contiguous_format)
        vae = AutoencoderKL.from_pretrained(build.model("autoencoder"))
        save_pipeline(build.model("base"), unet, text_encoder, tokenizer, vae)


def begun_base(config: WorldConfig) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """New ones, or with the embedded model's weights."""
    network = config.base.network
    tokenizer = base_model.new_tokenizer(network)
    torch.manual_seed(config.base.schedule.seed)
    unet, text_encoder = base_model.new_unet(network), base_model.new_text_encoder(network, tokenizer)
    if config.start == "bundle":
        embedded, words, _ = load_base(bundle_path())
        unet.load_state_dict(embedded.state_dict())
        text_encoder.load_state_dict(words.state_dict())
    return unet, text_encoder, tokenizer


def train_adapter(build: Build) -> None:
    train_face_adapter(build, "adapter", build.config.adapter)


def train_adapter_without_fair(build: Build) -> None:
    """The same steps from the same seeds, without FAIR of either kind: what FAIR is measured against."""
    recipe = build.config.adapter
    loss = replace(recipe.loss, fair=0.0, output_fair=0.0)
    train_face_adapter(build, "adapter_without_fair", replace(recipe, loss=loss))


def train_face_adapter(build: Build, part: str, recipe: AdapterRecipe) -> None:
    """By the trainer that everybody uses; what comes before the diffusion is the same with FAIR and without."""
    settings = adapter_training(build, recipe)
    made = adapter_run.train_adapter(settings, build.folder(part), warm_up_folder=build.out / "before_adapter")
    if build.accelerator.is_main_process:
        shutil.rmtree(build.model(part), ignore_errors=True)
        shutil.copytree(made, build.model(part))


def adapter_training(build: Build, recipe: AdapterRecipe) -> AdapterTraining:
    """The recipe with the build's own base model, encoder and portraits."""
    portraits = build.config.portraits
    new = replace(recipe.adapter, encoder=str(build.model("encoder")))
    if build.config.start == "bundle":  # from the one whose layers nothing has held back
        new = replace(new, start=str(judges_path() / "adapter_without_fair"), warm_up=None)
    return AdapterTraining(
        schedule=recipe.schedule,
        base=replace(recipe.base, source=str(build.model("base"))),
        adapter=new,
        data=Data(
            source="world",
            size=PIXELS,
            people=portraits.people,
            looks=portraits.looks,
            seed=portraits.seed,
            cache=build.folder("portraits"),
            text="live",
            validation_people=recipe.validation.people,
        ),
        condition=recipe.condition,
        loss=recipe.loss,
        validation=recipe.validation,
    )


def train_reader(build: Build) -> None:
    recipe = build.config.reader
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    factors = {name: len(values) for name, values in CHOICES.items()}
    made = AttributeReader(ReaderConfig(factors, recipe.widths, recipe.hidden))
    fit(reader.ReaderStage(made), reader.batches(plan.seed, plan.batch, build.rank), plan, build.folder("reader"))
    if build.accelerator.is_main_process:
        made.save_pretrained(build.model("reader"))


def train_face_detector(build: Build) -> None:
    recipe = build.config.face_detector
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = AvatarNet(recipe.network)
    batches = detector.batches(plan.seed, plan.batch, build.rank)
    fit(detector.DetectorStage(made), batches, plan, build.folder("face_detector"))
    if build.accelerator.is_main_process:
        save_avatar_net(made, build.model("face_detector"), half=False)


WORK: Mapping[str, Callable[[Build], Any]] = {
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "encoder": train_encoder,
    "portraits": fill_portraits,
    "base": train_base,
    "adapter": train_adapter,
    "adapter_without_fair": train_adapter_without_fair,
    "judge": train_judge,
    "reader": train_reader,
    "face_detector": train_face_detector,
}


def build_bundle(config: WorldConfig, out: Path, *, only: Sequence[str] = ()) -> Path:
    """Make the parts that are not finished yet, then put the bundle together; returns its directory.

    only: the parts to make (and "assemble"); what they read must be finished. UserError: an unknown part, a missing
    input, or a finished part whose settings were others.
    """
    unknown = [name for name in only if name not in (*PARTS, ASSEMBLE)]
    if unknown:
        raise UserError(f"no part is called {unknown[0]}; the parts: {', '.join((*PARTS, ASSEMBLE))}")
    config = resolved(config, training_device())
    build = Build(config, Path(out), Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no"))
    if config.start == "bundle" and build.accelerator.is_main_process:
        take_over(build)
    build.accelerator.wait_for_everyone()
    for name in PARTS:
        if not only or name in only:
            make_part(build, name)
    if not only or ASSEMBLE in only:
        for name in PARTS:
            require(build, name, reader_of=ASSEMBLE)
        if build.accelerator.is_main_process:
            assemble(build)
    build.accelerator.wait_for_everyone()
    return build.out / "bundle"


def make_part(build: Build, name: str) -> None:
    """Nothing when the part is finished; else make it, and mark it as finished."""
    if is_done(build, name):
        return
    for needed in PARTS[name].inputs:
        require(build, needed, reader_of=name)
    WORK[name](build)
    build.accelerator.wait_for_everyone()
    if build.accelerator.is_main_process:
        write_done(build, name, last_record(build.folder(name)))
    build.accelerator.wait_for_everyone()
