"""A whole Stable Diffusion and a face adapter for it: the real classes at tiny sizes, random, no file from anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def tiny_pipeline(*, in_channels: int = 4, latent_channels: int = 4, sample_size: int = 8, width: int = 32) -> Any:
    """A StableDiffusionPipeline: 64 px (f8), attention at two resolutions, text width 32; random, always the same."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from facefact.train.material.random_base import byte_tokenizer

    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=latent_channels,
        layers_per_block=1,
        block_out_channels=(32, 64),
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        cross_attention_dim=width,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        latent_channels=latent_channels,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_adapter(pipe: Any) -> Any:
    """A FaceAdapter for the tiny pipeline: random, always the same, its gates open; not attached."""
    import torch

    from facefact import FaceAdapter
    from facefact.encoder import ResamplerConfig, TransFace, TransFaceConfig

    torch.manual_seed(1)
    encoder = TransFace(TransFaceConfig(patch_size=28, width=16, depth=1, heads=2, embedding_size=8))
    width = pipe.text_encoder.config.hidden_size
    resampler = ResamplerConfig(input_width=16, width=16, depth=1, heads=2, head_width=8, queries=4, output_width=width)
    return FaceAdapter.new(pipe, encoder=encoder, resampler_config=resampler, gate=0.5).eval()


def as_published(directory: Path, *, tokenizer: Any) -> None:
    """Changes a saved pipeline, in place, into what the hub's SD1.5 directories look like.

    The tokenizer is vocab.json and merges.txt; there is a (tiny) safety checker, and a feature extractor under the name
    of the class that needs torchvision.
    """
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    (directory / "tokenizer" / "tokenizer.json").unlink()
    (directory / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()), encoding="utf-8")
    (directory / "tokenizer" / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    sizes = {"image_size": 32, "patch_size": 16, "projection_dim": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision | sizes, projection_dim=8))
    checker.save_pretrained(directory / "safety_checker")
    (directory / "feature_extractor").mkdir()
    extractor = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32}
    (directory / "feature_extractor" / "preprocessor_config.json").write_text(json.dumps(extractor))
    index = directory / "model_index.json"
    parts = {
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
    }
    index.write_text(json.dumps(json.loads(index.read_text()) | parts))


def save_tiny_model(directory: Path) -> Path:
    """A pipeline's directory with an adapter inside, laid out as the bundle is."""
    pipe = tiny_pipeline()
    pipe.save_pretrained(directory)
    tiny_adapter(pipe).save_pretrained(directory / "adapter")
    return directory
