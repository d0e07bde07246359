"""Every diffusers pipeline whose call takes `cross_attention_kwargs`, at tiny size: what becomes of a face in it.

python tests/adapter/pipelines.py    writes docs/use/pipelines.md
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
from hosts import make_adapter, make_host, make_tokens  # noqa: E402

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "use" / "pipelines.md"
SIDE, FRAMES = 64, 2


def pipelines() -> dict[str, Any]:
    """By name, all whose call takes the kwargs."""
    import diffusers

    found = {}
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith("Pipeline") else None
        if inspect.isclass(kind) and "cross_attention_kwargs" in inspect.signature(kind.__call__).parameters:
            found[name] = kind
    return found


# Parts


def base_parts(name: str) -> dict[str, Any]:
    """Those of Stable Diffusion, with a U-Net of the channels that the pipeline wants."""
    from diffusers import DDIMInverseScheduler, DDIMParallelScheduler, DDIMScheduler, LCMScheduler
    from test_companions import sdxl_pipeline

    from tiny import tiny_pipeline

    channels = next((n for part, n in (("InstructPix2Pix", 8), ("Depth2Img", 5), ("Upscale", 7)) if part in name), 4)
    xl = "XL" in name and "I2VGen" not in name
    parts = dict((sdxl_pipeline() if xl else tiny_pipeline(in_channels=channels)).components)
    if xl and channels != 4:
        parts["unet"] = make_host("sdxl", in_channels=channels)
    changes: dict[str, Any] = {}
    if "LatentConsistency" in name:
        changes["time_cond_proj_dim"] = 8
    if "XSPipeline" in name:
        changes["layers_per_block"] = 2
    if "SAG" in name:
        changes["attention_head_dim"] = 4
    if changes:
        parts["unet"] = changed(parts["unet"], **changes)
    kinds = {"Paradigms": DDIMParallelScheduler, "LatentConsistency": LCMScheduler}
    scheduler = next((kind for part, kind in kinds.items() if part in name), DDIMScheduler)
    parts["scheduler"] = scheduler.from_config(parts["scheduler"].config, set_alpha_to_one=False)
    return parts | {
        "safety_checker": None,
        "feature_extractor": None,
        "image_encoder": None,
        "low_res_scheduler": DDIMScheduler(),
        "inverse_scheduler": DDIMInverseScheduler.from_config(parts["scheduler"].config),
        "image_noising_scheduler": DDIMScheduler(),
        "depth_estimator": parts["vae"],  # not asked: the depth is given
        "caption_generator": None,
        "caption_processor": None,
    }


def changed(model: Any, **changes: Any) -> Any:
    """A new model of the same class with another config."""
    config = {key: value for key, value in model.config.items() if not key.startswith("_")}
    return type(model)(**config | changes).eval()


def controlnet(name: str, unet: Any) -> Any:
    from diffusers import ControlNetModel, ControlNetUnionModel, ControlNetXSAdapter, SparseControlNetModel

    small = {"conditioning_embedding_out_channels": (4, 4, 4, 4)}
    if "XSPipeline" in name:
        return ControlNetXSAdapter.from_unet(unet, size_ratio=0.5, **small)
    if "Union" in name:
        accepted = inspect.signature(ControlNetUnionModel.__init__).parameters
        config = {key: value for key, value in unet.config.items() if key in accepted}
        width = unet.config.block_out_channels[0]
        return ControlNetUnionModel(**config, num_trans_channel=width, num_proj_channel=width, **small)
    if "Sparse" in name:
        keys = ("block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim")
        config = {key: unet.config[key] for key in keys} | {"num_attention_heads": 2, "concat_conditioning_mask": True}
        config["down_block_types"] = ("CrossAttnDownBlockMotion",) * 2
        return SparseControlNetModel(**config, motion_num_attention_heads=2, **small)
    return ControlNetModel.from_unet(unet, **small)


def special_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """What the pipelines of this name have besides."""
    from diffusers import MotionAdapter, T2IAdapter, UNet3DConditionModel

    unet, more = parts["unet"], {}
    if "ControlNet" in name:
        more["controlnet"] = controlnet(name, unet)
    if "AnimateDiff" in name or "PIA" in name:
        sizes = {"motion_layers_per_block": 1, "motion_norm_num_groups": 4, "motion_num_attention_heads": 2}
        layers = MotionAdapter(
            block_out_channels=unet.config.block_out_channels, conv_in_channels=9 if "PIA" in name else None, **sizes
        )
        more["motion_adapter"] = layers
    if name.startswith("StableDiffusion") and "Adapter" in name:
        kind = "full_adapter_xl" if "XL" in name else "full_adapter"
        scale = 16 if "XL" in name else 8
        channels = list(unet.config.block_out_channels)
        more["adapter"] = T2IAdapter(3, channels, 1, downscale_factor=scale, adapter_type=kind)
    if name in ("TextToVideoSDPipeline", "VideoToVideoSDPipeline"):
        keys = ("block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim")
        config = {key: unet.config[key] for key in keys} | {"attention_head_dim": 8}
        types = {"down_block_types": ("CrossAttnDownBlock3D",) * 2, "up_block_types": ("CrossAttnUpBlock3D",) * 2}
        more["unet"] = UNet3DConditionModel(**config, **types)
    if "UnCLIP" in name:
        more |= unclip_parts(parts)
    return more


def unclip_parts(parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import DDPMScheduler, PriorTransformer, UnCLIPScheduler
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    width = parts["text_encoder"].config.hidden_size
    vision = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=32,
        patch_size=16,
        projection_dim=width,
    )
    classes = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * width}
    return {
        "prior_tokenizer": parts["tokenizer"],
        "prior_text_encoder": CLIPTextModelWithProjection(
            CLIPTextConfig(**parts["text_encoder"].config.to_dict() | {"projection_dim": width})
        ),
        "prior": PriorTransformer(num_attention_heads=2, attention_head_dim=8, embedding_dim=width, num_layers=1),
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=10
        ),
        "image_normalizer": StableUnCLIPImageNormalizer(embedding_dim=width),
        "image_noising_scheduler": DDPMScheduler(),
        "image_encoder": CLIPVisionModelWithProjection(vision),
        "unet": changed(parts["unet"], **classes),
    }


# Calls


def call_arguments(name: str, kind: Any) -> dict[str, Any]:
    """The arguments of a small call."""
    picture, mask = (
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)),
        Image.new("L", (SIDE, SIDE), 255),
    )
    tile = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    known: dict[str, Any] = {
        "prompt": "a face",
        "num_inference_steps": 2,
        "guidance_scale": 5.0,
        "width": SIDE,
        "height": SIDE,
        "strength": 1.0,
        "image": picture,
        "mask_image": mask,
        "control_image": picture,
        "conditioning_frames": [picture] * FRAMES,
        "controlnet_frame_indices": list(range(FRAMES)),
        "video": [picture] * FRAMES,
        "num_frames": FRAMES,
        "video_length": FRAMES,
        "depth_map": tile[:, 0],
        "source_prompt": "a face",
        "token_indices": [1],
        "control_mode": [0],
        "output_type": "np",
        "noise_level": 20,
        "prior_num_inference_steps": 2,
        "attn_res": (4, 4),
        "t0": 0,
        "t1": 1,
    }
    arguments = {key: value for key, value in known.items() if key in inspect.signature(kind.__call__).parameters}
    if name == "StableUnCLIPImg2ImgPipeline":
        arguments |= {"image": None, "image_embeds": torch.ones(1, 32)}
    if name == "StableDiffusionUpscalePipeline":
        arguments["image"] = picture.resize((16, 16))
    return arguments


def run(name: str, pipe: Any, kwargs: dict[str, Any] | None) -> np.ndarray:
    """The pictures of one call, always of the same noise."""
    arguments = call_arguments(name, type(pipe))
    torch.manual_seed(0)
    if "generator" in inspect.signature(type(pipe).__call__).parameters:
        arguments["generator"] = torch.Generator().manual_seed(0)
    result = pipe(**arguments, cross_attention_kwargs=kwargs)
    for place in ("images", "frames", "rgb", "audios"):
        if hasattr(result, place):
            pictures = getattr(result, place)
            return np.stack([np.asarray(one) for one in pictures])
    raise TypeError(f"{type(result).__name__} has no pictures")


def made(name: str, kind: Any) -> Any:
    parts = base_parts(name)
    parts |= special_parts(name, parts)
    accepted = inspect.signature(kind.__init__).parameters
    pipe = kind(
        **{key: value for key, value in parts.items() if key in accepted},
        **({"requires_safety_checker": False} if "requires_safety_checker" in accepted else {}),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


REFUSED = {
    "AudioLDM|MusicLDM": "makes sound, no picture",
    "^IF": "its U-Net has no transformer block that reads text",
    "GLIGEN": "a GLIGEN model: the place of the face adapter is taken",
    "Pix2PixZero|TextToVideoZeroSDXL": "drops cross_attention_kwargs on the way to its model",
}
UNTRIED = {"Amused|I2VGenXL|DiffEdit": "not tried"}


def verdict(name: str, kind: Any) -> str:
    """What becomes of a face: "acts", or why not. AssertionError: scale 0 is not the stock picture, or nothing acts."""
    for pattern, reason in (REFUSED | UNTRIED).items():
        if re.search(pattern, name):
            return reason
    pipe = made(name, kind)
    stock = run(name, pipe, None)
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    assert np.isfinite(stock).all(), name
    assert np.array_equal(run(name, pipe, adapter.condition(tokens, scale=0.0)), stock), "scale 0 is the stock picture"
    assert not np.allclose(run(name, pipe, adapter.condition(tokens)), stock, atol=1e-4), "the face acts"
    return "acts"


def page(verdicts: dict[str, str]) -> str:
    """The table as Markdown."""
    rows = "\n".join(f"| `{name}` | {what} |" for name, what in sorted(verdicts.items()))
    return f"""# Pipelines

Every diffusers pipeline whose call takes `cross_attention_kwargs`, tried at tiny size: where the face acts, scale 0 is
the stock picture bit for bit. Written by `python tests/adapter/pipelines.py`; a test holds it to the code.

| pipeline | the face |
|---|---|
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(page({name: verdict(name, kind) for name, kind in pipelines().items()}), encoding="utf-8")
