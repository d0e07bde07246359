"""What diffusers offers to save memory, on a pipeline with the adapter: the same pictures.

Offloading runs with the CPU as the device that computes: the hooks and the moves are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from facefact.adapter import fast_kernels
from facefact.faces import face_from_landmarks
from facefact.generate import InpaintSettings, Settings, Template, inpaint, text_to_image
from facefact.generate.text_to_image import call_arguments
from tiny import tiny_adapter, tiny_pipeline

SETTINGS = Settings(prompt="a red coat", seed=7, steps=2)
POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def sliced_attention(pipe: Any) -> None:
    pipe.enable_attention_slicing(1)


def sliced_decoding(pipe: Any) -> None:
    pipe.vae.enable_slicing()


def model_offload(pipe: Any) -> None:
    pipe.enable_model_cpu_offload(device="cpu")


def block_offload(pipe: Any) -> None:
    pipe.enable_group_offload(onload_device=torch.device("cpu"), num_blocks_per_group=1)


def leaf_offload(pipe: Any) -> None:
    pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")


SAVERS = [sliced_attention, sliced_decoding, model_offload, block_offload, leaf_offload]


def face_of(adapter: Any) -> Any:
    pixels = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return adapter.tokens(pixels)


def portrait(pipe: Any, adapter: Any, **changes: Any) -> np.ndarray:
    settings = replace(SETTINGS, **changes)
    return np.asarray(text_to_image(pipe, adapter, face_of(adapter), settings).image).astype(int)


def inpainted(pipe: Any, adapter: Any) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    settings = InpaintSettings(prompt="a smile", seed=3, steps=3)
    face = face_from_landmarks(POINTS + 20)
    template = Template(pixels, None, pixels)
    return np.asarray(inpaint(pipe, adapter, face_of(adapter), settings, template=template, face=face).image)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    made = {"with the face": portrait(pipe, adapter), "base": portrait(pipe, adapter, scale=0.0)}
    assert np.abs(made["with the face"] - made["base"]).max() > 3
    return made | {"inpainted": inpainted(pipe, adapter).astype(int)}


@pytest.mark.parametrize("fast", [False, True], ids=["", "fast_kernels"])
@pytest.mark.parametrize("first", [True, False], ids=["then attached", "attached before"])
@pytest.mark.parametrize("save", SAVERS)
def test_the_same_pictures(
    save: Callable[[Any], None], first: bool, fast: bool, expected: dict[str, np.ndarray]
) -> None:
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe)
    if first:
        save(pipe)
        adapter.attach(pipe)
    if fast:
        assert fast_kernels(pipe) or save is sliced_attention
    if not first:
        adapter.attach(pipe)
        save(pipe)
    found = {"with the face": portrait(pipe, adapter), "base": portrait(pipe, adapter, scale=0.0)}
    found["inpainted"] = inpainted(pipe, adapter).astype(int)
    for name, pixels in found.items():
        np.testing.assert_allclose(pixels, expected[name], atol=1, err_msg=name)


def test_the_face_is_not_lost_where_the_weights_lie_nowhere() -> None:
    """Sequential offload, which Accelerate itself cannot run with the CPU as the device: up to the pipeline's call."""
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    before = call_arguments(pipe, adapter, face_of(adapter), [SETTINGS])
    pipe.enable_sequential_cpu_offload(device="cpu")
    assert next(pipe.unet.parameters()).device.type == "meta"
    after = call_arguments(pipe, adapter, face_of(adapter), [SETTINGS])
    conditions = (one["cross_attention_kwargs"]["gligen"]["objs"] for one in (before, after))
    torch.testing.assert_close(*(condition.face for condition in conditions))


@torch.no_grad()
def test_tiled_decoding() -> None:
    """The tiles' seams are the autoencoder's own: the same latents give the same picture."""
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe).attach(pipe)
    pipe.vae.enable_tiling()
    pipe.vae.tile_sample_min_size, pipe.vae.tile_latent_min_size = 32, 4
    tiled = portrait(pipe, adapter)
    condition = adapter.condition(face_of(adapter), scale=0.7)
    latents = pipe(
        "a red coat",
        num_inference_steps=2,
        guidance_scale=5.0,
        output_type="latent",
        generator=torch.Generator().manual_seed(7),
        cross_attention_kwargs=condition,
    ).images
    decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    decoded = pipe.image_processor.postprocess(decoded, output_type="pil")[0]
    np.testing.assert_allclose(tiled, np.asarray(decoded).astype(int), atol=1)
    pipe.vae.disable_tiling()
    assert np.abs(tiled - portrait(pipe, adapter)).max() > 1


@pytest.mark.parametrize("first", [True, False], ids=["then attached", "attached before"])
def test_weights_kept_in_eight_bits(first: bool) -> None:
    """The base's weights are rounded, the adapter's are not: at scale 0 it is that base, above it is not."""
    pipe = tiny_pipeline()
    adapter = tiny_adapter(pipe)
    if not first:
        adapter.attach(pipe)
    pipe.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    base = pipe(
        "a red coat", num_inference_steps=2, guidance_scale=5.0, generator=torch.Generator().manual_seed(7)
    ).images[0]
    adapter.attach(pipe)
    assert {weight.dtype for weight in adapter.layers.parameters()} == {torch.float32}
    np.testing.assert_array_equal(portrait(pipe, adapter, scale=0.0), np.asarray(base))
    assert np.abs(portrait(pipe, adapter) - base).max() > 3
