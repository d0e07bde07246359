"""The recipe that builds the embedded bundle from nothing: a row of resumable stages, then everything in one place.

`build` with the same folder goes on where it stopped. A stage has a folder of its own; `done.json` in it, written last,
says that the stage is finished, what it was made with (a fingerprint of its settings and of those of the stages that it
stands on) and how its training ended.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from facefact import checkpoint
from facefact.demo import bundle_path, judges_path
from facefact.device import training_device
from facefact.encoder import TransFace
from facefact.encoder.files import load_transface, save_transface
from facefact.face_adapter import FaceAdapter
from facefact.faces.avatar import AvatarDetector, save_avatar_net
from facefact.faces.avatar_net import AvatarNet
from facefact.metrics.reader import AttributeReader, ReaderConfig
from facefact.train.adapter import run as adapter_run
from facefact.train.bundle import autoencoder, base_model, detector, latents, reader
from facefact.train.bundle.config import AdapterRecipe, RecogniserRecipe, WorldConfig
from facefact.train.encoder import recogniser
from facefact.train.engine.loop import fit
from facefact.train.engine.schedule import WITHOUT_EFFECT, resolved
from facefact.train.material import cache as caching
from facefact.train.material import conditions
from facefact.train.material.cache import Cache
from facefact.train.material.frozen import Frozen, on_device
from facefact.train.material.renders import aligned_head
from facefact.train.material.sources import WorldSource
from facefact.train.settings import AdapterTraining, Data, differing
from facefact.types import UserError
from facefact.world import CHOICES

DONE = "done.json"
RECIPE = "recipe.json"  # of the bundle: what each stage's `done.json` said
HALF = torch.float16
PIXELS = 128  # of the world's pictures


@dataclass(frozen=True)
class Run:
    """One build: its settings, its folder, and the processes that work on it."""

    config: WorldConfig
    out: Path
    accelerator: Accelerator

    def folder(self, stage: str) -> Path:
        return self.out / stage

    def model(self, stage: str) -> Path:
        """What a finished stage hands on (the portraits: the folder itself)."""
        return self.out / stage / "model"

    @property
    def rank(self) -> int:
        return self.accelerator.process_index


# The stages: each trains what its folder does not hold yet and leaves its result in `run.model(stage)`.


def train_autoencoder(run: Run) -> None:
    recipe = run.config.autoencoder
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = autoencoder.new_autoencoder(recipe.network)
    crop_steps = int(plan.steps * recipe.network.crop_share)
    batches = autoencoder.portrait_batches(plan.seed, plan.batch, recipe.network, crop_steps, run.rank)
    fit(autoencoder.AutoencoderStage(made, recipe.network), batches, plan, run.folder("autoencoder"))
    if run.accelerator.is_main_process:
        made.to(memory_format=torch.contiguous_format)
        latents.normalise_latents(made, latents.render_pixels(recipe.latents_seed, recipe.latents))
        made.save_pretrained(run.model("autoencoder"))


def train_recogniser(run: Run, stage: str, recipe: RecogniserRecipe, crop: recogniser.Crop) -> None:
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = TransFace(recipe.network)
    batches = recogniser.pair_batches(plan.seed, plan.batch // 2, crop, run.rank)
    fit(recogniser.RecogniserStage(made), batches, plan, run.folder(stage))
    if run.accelerator.is_main_process:
        save_transface(made, run.model(stage))


def train_encoder(run: Run) -> None:
    train_recogniser(run, "encoder", run.config.encoder, aligned_head)


def train_judge(run: Run) -> None:
    train_recogniser(run, "judge", run.config.judge, aligned_head)


def fill_portraits(run: Run) -> None:
    fill_cache(run)


def fill_cache(run: Run) -> Cache:
    """The portraits that base model and adapter learn from, with latents and tokens computed once: what is missing of
    them. (The adapter's own run finds it all there.)"""
    frozen = frozen_without_base(run)
    with on_device(frozen, run.accelerator.device):
        index = caching.fill(
            portrait_source(run.config),
            frozen,
            run.folder("portraits"),
            size=PIXELS,
            text=False,
            rank=run.rank,
            world_size=run.accelerator.num_processes,
        )
    run.accelerator.wait_for_everyone()
    return Cache.open(index)


def portrait_source(config: WorldConfig) -> WorldSource:
    return WorldSource(config.portraits.people, config.portraits.looks, config.portraits.seed)


def frozen_without_base(run: Run) -> Frozen:
    """Autoencoder and face encoder; the U-Net is one that knows nothing yet, and only says in what type it computes."""
    return Frozen(
        vae=AutoencoderKL.from_pretrained(run.model("autoencoder")).requires_grad_(False).eval(),
        unet=base_model.new_unet(run.config.base.network),
        text_encoders=(),
        tokenizers=(),
        scheduler=base_model.new_scheduler(),
        encoder=load_transface(run.model("encoder")).requires_grad_(False),
    )


def train_base(run: Run) -> None:
    recipe = run.config.base
    plan = recipe.schedule
    tokenizer = base_model.new_tokenizer(recipe.network)
    torch.manual_seed(plan.seed)
    unet = base_model.new_unet(recipe.network)
    text_encoder = base_model.new_text_encoder(recipe.network, tokenizer)
    if run.config.start == "bundle":
        begun, words, _ = load_base(bundle_path())
        unet.load_state_dict(begun.state_dict())
        text_encoder.load_state_dict(words.state_dict())
    if recipe.compile:
        unet.compile()
    cache = fill_cache(run)
    batches = conditions.batches(
        lambda step: cache,
        recipe.condition(),
        batch=plan.batch,
        seed=plan.seed,
        tokenize=lambda captions: base_model.tokenize(tokenizer, captions),
        rank=run.rank,
        processes=run.accelerator.num_processes,
    )
    stage = base_model.BaseStage(
        unet,
        text_encoder,
        base_model.new_scheduler(),
        face_weight=recipe.face_weight,
        feature_weight=recipe.feature_weight,
        factor=PIXELS // recipe.network.sample_size,
    )
    fit(stage, batches, plan, run.folder("base"))
    if run.accelerator.is_main_process:
        unet.to(memory_format=torch.contiguous_format)
        vae = AutoencoderKL.from_pretrained(run.model("autoencoder"))
        save_pipeline(run.model("base"), unet, text_encoder, tokenizer, vae)


def train_adapter(run: Run) -> None:
    train_face_adapter(run, "adapter", run.config.adapter)


def train_adapter_without_fair(run: Run) -> None:
    """The same steps from the same seeds, with lambda = 0: what FAIR is measured against."""
    recipe = run.config.adapter
    train_face_adapter(run, "adapter_without_fair", replace(recipe, loss=replace(recipe.loss, fair=0.0)))


def train_face_adapter(run: Run, stage: str, recipe: AdapterRecipe) -> None:
    """By the trainer that everybody uses; what comes before the diffusion is the same with FAIR and without."""
    settings = adapter_training(run, recipe)
    made = adapter_run.train_adapter(settings, run.folder(stage), warm_up_folder=run.out / "before_adapter")
    if run.accelerator.is_main_process:
        shutil.rmtree(run.model(stage), ignore_errors=True)
        shutil.copytree(made, run.model(stage))


def adapter_training(run: Run, recipe: AdapterRecipe) -> AdapterTraining:
    """The recipe with the run's own base model, encoder and portraits."""
    portraits = run.config.portraits
    return AdapterTraining(
        schedule=recipe.schedule,
        base=replace(recipe.base, source=str(run.model("base"))),
        adapter=replace(recipe.adapter, encoder=str(run.model("encoder"))),
        data=Data(
            source="world",
            size=PIXELS,
            people=portraits.people,
            looks=portraits.looks,
            seed=portraits.seed,
            cache=run.folder("portraits"),
            text="live",
            validation_people=recipe.validation.people,
        ),
        condition=recipe.condition,
        loss=recipe.loss,
        validation=recipe.validation,
    )


def train_reader(run: Run) -> None:
    recipe = run.config.reader
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    factors = {name: len(values) for name, values in CHOICES.items()}
    made = AttributeReader(ReaderConfig(factors, recipe.widths, recipe.hidden))
    fit(reader.ReaderStage(made), reader.batches(plan.seed, plan.batch, run.rank), plan, run.folder("reader"))
    if run.accelerator.is_main_process:
        made.save_pretrained(run.model("reader"))


def train_face_detector(run: Run) -> None:
    recipe = run.config.face_detector
    plan = recipe.schedule
    torch.manual_seed(plan.seed)
    made = AvatarNet(recipe.network)
    batches = detector.batches(plan.seed, plan.batch, run.rank)
    fit(detector.DetectorStage(made), batches, plan, run.folder("face_detector"))
    if run.accelerator.is_main_process:
        save_avatar_net(made, run.model("face_detector"), half=False)


@dataclass(frozen=True)
class Stage:
    """work: does it. settings: its group of the config. inputs: the stages whose results it reads."""

    work: Callable[[Run], None]
    settings: str
    inputs: tuple[str, ...] = ()


STAGES: Mapping[str, Stage] = {
    "autoencoder": Stage(train_autoencoder, "autoencoder"),
    "encoder": Stage(train_encoder, "encoder"),
    "portraits": Stage(fill_portraits, "portraits", ("autoencoder", "encoder")),
    "base": Stage(train_base, "base", ("portraits",)),
    "adapter": Stage(train_adapter, "adapter", ("encoder", "portraits", "base")),
    "adapter_without_fair": Stage(train_adapter_without_fair, "adapter", ("encoder", "portraits", "base")),
    "judge": Stage(train_judge, "judge"),
    "reader": Stage(train_reader, "reader"),
    "face_detector": Stage(train_face_detector, "face_detector"),
}
ASSEMBLE = "assemble"


def build(config: WorldConfig, out: Path, *, only: Sequence[str] = ()) -> Path:
    """Run the stages that are not finished yet, then write the bundle; returns its directory.

    only: the stages to run (and "assemble"); what they read must be finished. UserError: an unknown stage, a missing
    input, or a finished stage whose settings were others.
    """
    unknown = [name for name in only if name not in (*STAGES, ASSEMBLE)]
    if unknown:
        raise UserError(f"no stage is called {unknown[0]}; the stages: {', '.join((*STAGES, ASSEMBLE))}")
    config = resolved(config, training_device())
    run = Run(config, Path(out), Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no"))
    if config.start == "bundle" and run.accelerator.is_main_process:
        take_over(run)
    run.accelerator.wait_for_everyone()
    for name in STAGES:
        if not only or name in only:
            run_stage(run, name)
    if not only or ASSEMBLE in only:
        for name in STAGES:
            require(run, name, reader_of=ASSEMBLE)
        if run.accelerator.is_main_process:
            assemble(run)
    run.accelerator.wait_for_everyone()
    return run.out / "bundle"


def take_over(run: Run) -> None:
    """The embedded model's parts that are not trained again, as the results of their stages."""
    bundle, judges = bundle_path(), judges_path()
    taken: Mapping[str, Callable[[Path], Any]] = {
        "autoencoder": AutoencoderKL.from_pretrained(bundle / "vae", torch_dtype=torch.float32).save_pretrained,
        "encoder": partial(save_transface, FaceAdapter.from_pretrained(bundle / "adapter").encoder),
        "judge": partial(save_transface, load_transface(judges / "recogniser")),
        "reader": AttributeReader.from_pretrained(judges / "reader").save_pretrained,
        "face_detector": lambda where: save_avatar_net(
            AvatarDetector.from_pretrained(bundle / "face_detector").net, where, half=False
        ),
    }
    made = json.loads((bundle / RECIPE).read_text(encoding="utf-8"))
    for name, save in taken.items():
        if not (run.folder(name) / DONE).is_file():
            save(run.model(name))
            write_done(run, name, made[name]["figures"])


def run_stage(run: Run, name: str) -> None:
    """Nothing when the stage is finished; else do it, and mark it as finished."""
    if is_done(run, name):
        return
    for needed in STAGES[name].inputs:
        require(run, needed, reader_of=name)
    STAGES[name].work(run)
    run.accelerator.wait_for_everyone()
    if run.accelerator.is_main_process:
        write_done(run, name, last_record(run.folder(name)))
    run.accelerator.wait_for_everyone()


def write_done(run: Run, name: str, figures: Mapping[str, Any]) -> None:
    """figures: how its training ended."""
    record = {
        "stage": name,
        "fingerprint": fingerprint(run.config, name),
        "settings": settings(run.config, name),
        "figures": dict(figures),
    }
    with checkpoint.replacing(run.folder(name) / DONE) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def settings(config: WorldConfig, name: str) -> dict[str, Any]:
    """The settings of a stage that decide its result (not how often it saves, nor who makes its batches)."""
    tree = asdict(getattr(config, STAGES[name].settings))
    for key in WITHOUT_EFFECT:
        tree.get("schedule", {}).pop(key, None)
    return tree


def fingerprint(config: WorldConfig, name: str) -> str:
    """Of the stage's settings and of those of all that it stands on."""
    inputs = {needed: fingerprint(config, needed) for needed in STAGES[name].inputs}
    text = json.dumps({"stage": name, "settings": settings(config, name), "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_done(run: Run, name: str) -> bool:
    """Whether the stage is finished. UserError: it is, and was made with other settings."""
    marker = run.folder(name) / DONE
    if not marker.is_file():
        return False
    made = json.loads(marker.read_text(encoding="utf-8"))
    if made["fingerprint"] == fingerprint(run.config, name):
        return True
    now = json.loads(json.dumps(settings(run.config, name)))
    changed = sorted(differing(made["settings"], now)) or [
        f"a stage that it stands on ({', '.join(STAGES[name].inputs)})"
    ]
    raise UserError(
        f"{run.folder(name)} is finished, with other settings ({', '.join(changed[:3])}): give another folder, or "
        "remove this one and those of the stages that stand on it"
    )


def require(run: Run, name: str, *, reader_of: str) -> None:
    if not is_done(run, name):
        raise UserError(
            f"{reader_of} needs the stage {name}, and {run.folder(name)} is not finished: run that stage first"
        )


def last_record(folder: Path) -> dict[str, Any]:
    """The last line of the stage's metrics; empty where nothing was trained."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1]) if lines else {}


# The parts on disk


def load_base(
    directory: Path, dtype: torch.dtype = torch.float32
) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    return (
        UNet2DConditionModel.from_pretrained(directory / "unet", torch_dtype=dtype),
        CLIPTextModel.from_pretrained(directory / "text_encoder", dtype=dtype),
        CLIPTokenizer.from_pretrained(directory / "tokenizer"),
    )


def save_pipeline(
    directory: Path,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    vae: AutoencoderKL,
) -> None:
    """As `StableDiffusionPipeline.from_pretrained` reads it."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=base_model.new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(directory)
    open_in_single(directory / "text_encoder/config.json")
    forget_paths(directory)


def open_in_single(config_file: Path) -> None:
    """Fp16 on disk, fp32 when opened without a type. transformers would open what the config says, diffusers always
    fp32: `StableDiffusionPipeline.from_pretrained(bundle)` would be of two types."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config_file.write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


def forget_paths(directory: Path) -> None:
    """diffusers notes the directory that a part was read from: nobody's business."""
    for path in directory.rglob("*.json"):
        tree = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(tree, dict) and tree.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def assemble(run: Run) -> None:
    """The finished stages as a directory for users, `bundle`, and one for the evaluation, `judges`; weights in fp16."""
    bundle, judges = run.out / "bundle", run.out / "judges"
    for directory in (bundle, judges):
        shutil.rmtree(directory, ignore_errors=True)
    unet, text_encoder, tokenizer = load_base(run.model("base"), HALF)
    vae = AutoencoderKL.from_pretrained(run.model("autoencoder"), torch_dtype=HALF)
    save_pipeline(bundle, unet, text_encoder, tokenizer, vae)
    FaceAdapter.from_pretrained(run.model("adapter")).save_pretrained(bundle / "adapter", dtype=HALF)
    save_avatar_net(AvatarDetector.from_pretrained(run.model("face_detector")).net, bundle / "face_detector")

    save_transface(load_transface(run.model("judge")), judges / "recogniser", dtype=HALF)
    AttributeReader.from_pretrained(run.model("reader")).save_pretrained(judges / "reader", dtype=HALF)
    FaceAdapter.from_pretrained(run.model("adapter_without_fair")).save_pretrained(
        judges / "adapter_without_fair", dtype=HALF
    )

    made = {name: json.loads((run.folder(name) / DONE).read_text(encoding="utf-8")) for name in STAGES}
    (bundle / RECIPE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
