"""Few steps and no guidance: every sampler, turbo settings, latent consistency models and LoRAs, with the adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from facefact.generate import InpaintSettings, Settings, Template, inpaint, load_base, text_to_image
from facefact.types import FaceTokens
from tiny import tiny_adapter, tiny_pipeline

SETTINGS = Settings(prompt="a red coat", seed=7, steps=4)
TURBO = {"timestep_spacing": "trailing"}
SAMPLERS: dict[str, dict[str, Any]] = {
    "DDIM": TURBO,
    "DDPM": TURBO,
    "DEISMultistep": {},
    "DPMSolverMultistep": {"algorithm_type": "sde-dpmsolver++"},
    "DPMSolverSinglestep": {},
    "EulerAncestralDiscrete": TURBO,
    "EulerDiscrete": TURBO,
    "HeunDiscrete": {},
    "KDPM2AncestralDiscrete": {},
    "LCM": {},
    "LMSDiscrete": {},
    "PNDM": {},
    "SASolver": {},
    "TCD": {},
    "UniPCMultistep": {},
}


def faces(adapter: Any) -> FaceTokens:
    pixels = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return adapter.tokens(pixels)


def portrait(pipe: Any, adapter: Any, settings: Settings = SETTINGS) -> np.ndarray:
    return np.asarray(text_to_image(pipe, adapter, faces(adapter), settings).image)


def bare(pipe: Any, settings: Settings = SETTINGS) -> np.ndarray:
    """What the pipeline makes by itself."""
    generator = torch.Generator().manual_seed(settings.seed)
    options = {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance_scale}
    return np.asarray(pipe(settings.prompt, generator=generator, **options).images[0])


def assert_the_face_counts(pipe: Any, settings: Settings) -> np.ndarray:
    """Scale 0 is the base bit for bit, and a face changes the picture, which is returned."""
    base = bare(pipe, settings)
    adapter = tiny_adapter(pipe).attach(pipe)
    np.testing.assert_array_equal(portrait(pipe, adapter, replace(settings, scale=0.0)), base)
    made = portrait(pipe, adapter, settings)
    assert (made != base).mean() > 0.1
    adapter.detach()
    return made


def batches_of(pipe: Any) -> list[int]:
    """The batch of every call of the U-Net from now on."""
    sizes: list[int] = []
    pipe.unet.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize("guidance_scale", [5.0, 0.0])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler(name: str, guidance_scale: float, pipe: Any) -> None:
    if name == "LMSDiscrete":
        pytest.importorskip("scipy", reason="diffusers' LMSDiscreteScheduler needs it")
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config, **SAMPLERS[name])
    assert_the_face_counts(pipe, replace(SETTINGS, guidance_scale=guidance_scale))


@pytest.mark.parametrize("name", ["EulerAncestralDiscrete", "EulerDiscrete", "LCM", "TCD", "DDIM"])
def test_one_step_without_guidance(name: str, pipe: Any) -> None:
    """As SD Turbo, and the one-step LoRAs, are used: a batch of one, called once."""
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config, **TURBO)
    sizes = batches_of(pipe)
    assert_the_face_counts(pipe, replace(SETTINGS, steps=1, guidance_scale=0.0))
    assert sizes == [1, 1, 1]


def test_the_lcm_lora(pipe: Any) -> None:
    from peft import LoraConfig

    pipe.scheduler = diffusers.LCMScheduler.from_config(pipe.scheduler.config)
    settings = replace(SETTINGS, guidance_scale=1.0)
    without = assert_the_face_counts(pipe, settings)
    torch.manual_seed(5)
    targets = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2"]
    pipe.unet.add_adapter(LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    assert (assert_the_face_counts(pipe, settings) != without).any()


def distilled(pipe: Any) -> Any:
    """The pipeline with a U-Net that is told the guidance scale, as that of a latent consistency model."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel.from_config(pipe.unet.config, time_cond_proj_dim=16)
    pipe.register_modules(unet=unet)
    pipe.scheduler = diffusers.LCMScheduler.from_config(pipe.scheduler.config)
    return pipe


def test_guidance_distilled_into_the_model(pipe: Any) -> None:
    """It reads the guidance scale, and has no negative half."""
    sizes = batches_of(distilled(pipe))
    assert_the_face_counts(pipe, replace(SETTINGS, guidance_scale=8.0))
    assert set(sizes) == {1}


def test_the_pipeline_of_latent_consistency_models(pipe: Any, tmp_path: Path) -> None:
    """It knows no negative prompt."""
    parts = {name: part for name, part in distilled(pipe).components.items() if name != "image_encoder"}
    diffusers.LatentConsistencyModelPipeline(**parts, requires_safety_checker=False).save_pretrained(tmp_path)
    lcm = load_base(tmp_path)
    assert type(lcm).__name__ == "LatentConsistencyModelPipeline"
    assert_the_face_counts(lcm, replace(SETTINGS, guidance_scale=8.0))


@pytest.mark.parametrize("name", ["LCM", "EulerAncestralDiscrete"])
def test_inpainting_in_few_steps(name: str) -> None:
    from facefact.faces import face_from_landmarks

    points = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    pixels = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    template, face = Template(pixels, None, pixels), face_from_landmarks(points + 20)
    adapter = tiny_adapter(pipe).attach(pipe)
    settings = InpaintSettings(prompt="a smile", steps=2, guidance_scale=0.0, strength=0.5)
    made = [
        np.asarray(inpaint(pipe, adapter, faces(adapter), one, template=template, face=face).image)
        for one in (settings, replace(settings, scale=0.0))
    ]
    assert (made[0] != pixels).any()
    assert (made[0] != made[1]).any()


def test_the_part_of_the_schedule_in_which_the_face_counts(pipe: Any, adapter: Any) -> None:
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, **TURBO)
    base, whole = (portrait(pipe, adapter, replace(SETTINGS, scale=scale)) for scale in (0.0, 0.7))
    np.testing.assert_array_equal(portrait(pipe, adapter, replace(SETTINGS, start=0.3, end=0.4)), base)  # no step there
    part = portrait(pipe, adapter, replace(SETTINGS, start=0.2, end=0.8))
    assert (part != base).any()
    assert (part != whole).any()
