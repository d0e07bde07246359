"""The same command on networks of Stable Diffusion 1.5's size (random weights, bfloat16): nothing is special to the
bundled model. About 4 GB on disk and in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact import FaceAdapter
from facefact.apps import cli
from facefact.encoder import TransFace, TransFaceConfig
from facefact.faces import face_from_landmarks
from facefact.generate import read_recipe
from facefact.train.material.random_base import SHAPES, byte_tokenizer, empty_parts
from tiny import as_published

POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def filled(module: Any) -> Any:
    """A module of the meta device -> in bfloat16 memory: matrices of tiled noise, norms 1, gates 0.5, biases 0."""
    module = module.to(torch.bfloat16).to_empty(device="cpu")
    noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    for name, tensor in module.state_dict().items():
        if tensor.ndim > 1 and tensor.is_floating_point():
            for part in tensor.view(-1).split(len(noise)):
                torch.mul(noise[: len(part)], 0.5 * tensor[0].numel() ** -0.5, out=part)
        elif name.endswith("position_ids"):
            tensor.copy_(torch.arange(tensor.numel()).view_as(tensor))
        else:
            tensor.fill_(0.5 if tensor.ndim == 0 else float(name.endswith(("weight", "var"))))
    return module


def sd15() -> Any:
    """Stable Diffusion 1.5: 860 M + 123 M + 84 M parameters."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    tokenizer = byte_tokenizer()
    vae, unet, (text,) = empty_parts(SHAPES["sd15"], tokenizer)
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    return StableDiffusionPipeline(
        vae=filled(vae),
        text_encoder=filled(text),
        tokenizer=tokenizer,
        unet=filled(unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def write_models(directory: Path) -> int:
    """A base model and a published-size adapter; returns the adapter's parameters."""
    pipe = sd15()
    pipe.save_pretrained(directory / "base")
    as_published(directory / "base", tokenizer=pipe.tokenizer)
    with torch.device("meta"):
        adapter = FaceAdapter.new(pipe, encoder=TransFace(TransFaceConfig()), gate=0.3)
    filled(adapter).save_pretrained(directory / "face")
    return sum(parameter.numel() for parameter in adapter.parameters())


class OneFace:
    name, licence = "one", ""

    def detect(self, picture: np.ndarray) -> list[Any]:
        return [face_from_landmarks(POINTS + 60)]

    def head_mask(self, picture: np.ndarray, face: Any) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


@pytest.mark.slow
def test_generate_and_inpaint_at_full_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_models(tmp_path) > 300e6
    monkeypatch.setattr("facefact.faces.get_detector", lambda *args, **kwargs: OneFace())
    photo = np.random.default_rng(0).integers(0, 256, (260, 260, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    call = [
        "--face",
        str(tmp_path / "photo.png"),
        "--prompt",
        "a red coat",
        "--model",
        str(tmp_path / "base"),
        "--adapter",
        str(tmp_path / "face"),
        "--device",
        "cpu",
        "--dtype",
        "bf16",
        "--steps",
        "1",
        "--size",
        "128",
        "--offline",
    ]
    assert cli.main(["generate", *call, "--out", str(tmp_path / "made")]) == 0
    made = tmp_path / "made" / "portrait-0.png"
    with Image.open(made) as image:
        assert image.size == (128, 128)
        assert np.asarray(image).std() > 1  # neither black nor NaN
    assert read_recipe(made)["dtype"] == "bfloat16"
    template = ["--template", str(tmp_path / "photo.png"), "--strength", "1"]
    assert cli.main(["inpaint", *call, *template, "--out", str(tmp_path / "inpainted")]) == 0
    with Image.open(tmp_path / "inpainted" / "portrait-0.png") as image:
        changed = (np.asarray(image) != photo).any(axis=2)
    assert 0.05 < changed.mean() < 0.5
