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
    unet, more = parts["unet"], {}
    for pattern, make in FAMILIES.items():
        if re.search(pattern, name):
            more |= make(name, parts)
    if "ControlNet" in name:
        more["controlnet"] = controlnet(name, unet)
    return more


def motion_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import MotionAdapter

    sizes = {"motion_layers_per_block": 1, "motion_norm_num_groups": 4, "motion_num_attention_heads": 2}
    channels = parts["unet"].config.block_out_channels
    layers = MotionAdapter(block_out_channels=channels, conv_in_channels=9 if "PIA" in name else None, **sizes)
    return {"motion_adapter": layers}


def t2i_adapter(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import T2IAdapter

    kind, scale = ("full_adapter_xl", 16) if "XL" in name else ("full_adapter", 8)
    channels = list(parts["unet"].config.block_out_channels)
    return {"adapter": T2IAdapter(3, channels, 1, downscale_factor=scale, adapter_type=kind)}


def video_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import I2VGenXLUNet, UNet3DConditionModel
    from transformers import CLIPImageProcessor

    keys = ("block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim")
    config = {key: parts["unet"].config[key] for key in keys} | {"attention_head_dim": 8}
    types = {"down_block_types": ("CrossAttnDownBlock3D",) * 2, "up_block_types": ("CrossAttnUpBlock3D",) * 2}
    if "I2VGen" not in name:
        return {"unet": UNet3DConditionModel(**config, **types)}
    return {
        "unet": I2VGenXLUNet(**config, **types),
        "image_encoder": vision(config["cross_attention_dim"]),
        "feature_extractor": CLIPImageProcessor(size=32, crop_size=32),
    }


def masked_token_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import AmusedScheduler, UVit2DModel, VQModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    width = parts["text_encoder"].config.hidden_size
    text = CLIPTextConfig(**parts["text_encoder"].config.to_dict() | {"num_hidden_layers": 2})
    blocks = {"num_res_blocks": 1, "block_out_channels": 16, "block_num_heads": 2}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    sizes = {"in_channels": 8, "vocab_size": 33, "codebook_size": 32, "micro_cond_encode_dim": 2, "sample_size": 32}
    widths = {"encoder_hidden_size": width, "cond_embed_dim": width, "micro_cond_embed_dim": 10}
    vae = {"block_out_channels": [8, 8], "latent_channels": 8, "num_vq_embeddings": 32, "norm_num_groups": 4}
    types = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return {
        "transformer": UVit2DModel(**widths | sizes | blocks | layers).eval(),
        "vqvae": VQModel(**vae, **types, lookup_from_codebook=True).eval(),
        "text_encoder": CLIPTextModelWithProjection(text).eval(),
        "scheduler": AmusedScheduler(mask_token_id=32),
    }


def pixel_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import UNet2DConditionModel

    return {
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16),
            norm_num_groups=4,
            layers_per_block=1,
            in_channels=6 if "Super" in name else 3,
            out_channels=6,
            attention_head_dim=4,
            cross_attention_dim=8,
            encoder_hid_dim=32,
            encoder_hid_dim_type="text_proj",
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        ),
        "watermarker": None,
    }


def sound_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """Without what reads the text: to be refused before it is asked."""
    from diffusers import AudioLDM2ProjectionModel
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(model_in_dim=8, upsample_initial_channel=8, upsample_rates=[2], num_mels=8)
    missing = ("text_encoder_2", "language_model", "tokenizer_2")
    return {
        "vocoder": SpeechT5HifiGan(config),
        "projection_model": AudioLDM2ProjectionModel(8, 8, 8),
        **dict.fromkeys(missing),
    }


def gligen_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    return {"unet": changed(parts["unet"], attention_type="gated"), "processor": None, "image_project": None}


def vision(width: int) -> Any:
    """A CLIP image encoder with embeddings of this width."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    layers = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(**layers, image_size=32, patch_size=16, projection_dim=width)
    ).eval()


def unclip_parts(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    from diffusers import DDPMScheduler, PriorTransformer, UnCLIPScheduler
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    width = parts["text_encoder"].config.hidden_size
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
        "image_encoder": vision(width),
        "unet": changed(parts["unet"], **classes),
    }


FAMILIES = {
    "AnimateDiff|PIA": motion_parts,
    "^StableDiffusion.*Adapter": t2i_adapter,
    "ToVideoSD|I2VGen": video_parts,
    "UnCLIP": unclip_parts,
    "Amused": masked_token_parts,
    "^IF": pixel_parts,
    "(Audio|Music)LDM": sound_parts,
    "GLIGEN": gligen_parts,
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
        "inpaint_strength": 1.0,
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
    if "DiffEdit" in name:
        arguments |= {"mask_image": np.ones((1, SIDE // 8, SIDE // 8)), "image_latents": torch.zeros(1, 2, 4, 8, 8)}
    if "I2VGen" in name:  # by default it asks for what transformers 5 has renamed
        arguments["clip_skip"] = None
    if "Amused" in name:
        arguments["num_inference_steps"] = 6
    if "Pix2PixZero" in name:
        arguments |= {"source_embeds": torch.zeros(1, 77, 32), "target_embeds": torch.ones(1, 77, 32)}
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


def adapter_for(pipe: Any) -> Any:
    """That of the pipeline's model; where none fits, any."""
    from facefact import UserError

    try:
        return make_adapter(pipe)
    except UserError:
        return make_adapter(make_host())


def verdict(name: str, kind: Any) -> str:
    """What becomes of a face: "acts", or how it is refused, where it is attached or after the first step.

    AssertionError: scale 0 is not the stock picture, the face neither acts nor is refused, or the refusal does not name
    the pipeline and what to take in its place.
    """
    from facefact import UserError

    pipe = made(name, kind)
    adapter = adapter_for(pipe)
    try:
        adapter.attach(pipe)
    except UserError as error:
        return refusal(name, error)
    adapter.detach()
    stock = run(name, pipe, None)
    tokens = make_tokens(adapter.attach(pipe))
    assert np.isfinite(stock).all(), name
    assert np.array_equal(run(name, pipe, adapter.condition(tokens, scale=0.0)), stock), "scale 0 is the stock picture"
    try:
        faced = run(name, pipe, adapter.condition(tokens))
    except UserError as error:
        return refusal(name, error)
    assert not np.allclose(faced, stock, atol=1e-4), "the face acts"
    return "acts"


def refusal(name: str, error: Exception) -> str:
    assert name in str(error)
    assert " take " in str(error), "a way out"
    return f"refused: {error}"


def page(verdicts: dict[str, str]) -> str:
    """The table as Markdown."""
    rows = "\n".join(f"| `{name}` | {what} |" for name, what in sorted(verdicts.items()))
    return f"""# Pipelines

Every diffusers pipeline whose call takes `cross_attention_kwargs`, tried at tiny size: where the face acts, scale 0 is
the stock picture bit for bit; elsewhere it is refused with these words, when the adapter is attached or after the first
step. Written by `python tests/adapter/pipelines.py`; a test holds it to the code.

`facefact.generate`'s `text_to_image` and `inpaint` call them too. The pipeline's ControlNet, ControlNet-XS or
T2I-Adapter reads `Settings(control_image=Image.open("pose.png"), control_scale=0.8)` (a list: one for each of several).
A union net is told with `control_mode` which kind of picture it is.

| pipeline | the face |
|---|---|
{rows}
"""


if __name__ == "__main__":
    PAGE.write_text(page({name: verdict(name, kind) for name, kind in pipelines().items()}), encoding="utf-8")
