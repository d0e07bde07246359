"""The finished parts put together as a directory for users, and taken apart again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from facefact.demo import bundle_path, judges_path
from facefact.encoder.files import load_transface, save_transface
from facefact.face_adapter import FaceAdapter
from facefact.faces.avatar import AvatarDetector, save_avatar_net
from facefact.metrics.reader import AttributeReader
from facefact.train.bundle.base_model import new_sampler
from facefact.train.bundle.parts import DONE, PARTS, Build, write_done

RECIPE = "recipe.json"  # of the bundle: what each part's `done.json` said
HALF = torch.float16


def assemble(build: Build) -> None:
    """The finished parts as a directory for users, `bundle`, and one for the evaluation, `judges`; weights in fp16."""
    bundle, judges = build.out / "bundle", build.out / "judges"
    for directory in (bundle, judges):
        shutil.rmtree(directory, ignore_errors=True)
    unet, text_encoder, tokenizer = load_base(build.model("base"), HALF)
    vae = AutoencoderKL.from_pretrained(build.model("decoder"), torch_dtype=HALF)
    save_pipeline(bundle, unet, text_encoder, tokenizer, vae)
    FaceAdapter.from_pretrained(build.model("adapter")).save_pretrained(bundle / "adapter", dtype=HALF)
    save_avatar_net(AvatarDetector.from_pretrained(build.model("face_detector")).net, bundle / "face_detector")

    save_transface(load_transface(build.model("judge")), judges / "recogniser", dtype=HALF)
    AttributeReader.from_pretrained(build.model("reader")).save_pretrained(judges / "reader", dtype=HALF)
    FaceAdapter.from_pretrained(build.model("adapter_without_fair")).save_pretrained(
        judges / "adapter_without_fair", dtype=HALF
    )

    made = {name: json.loads((build.folder(name) / DONE).read_text(encoding="utf-8")) for name in PARTS}
    (bundle / RECIPE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def take_over(build: Build) -> None:
    """The embedded model's parts that are not trained again, as what their makers would have left."""
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
        if not (build.folder(name) / DONE).is_file():
            save(build.model(name))
            write_done(build, name, made[name]["figures"])


def load_base(
    directory: Path, dtype: torch.dtype = torch.float32
) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """Of a pipeline's directory."""
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
        scheduler=new_sampler(),
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
