"""The naive way to a portrait of somebody: image-to-image from their picture, with no adapter."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from facefact.evaluate.pictures import Painter
from facefact.evaluate.protocol import Protocol


@torch.no_grad()
def from_the_reference(painter: Painter, cases: Protocol, *, strength: float, title: str) -> np.ndarray:
    """(cases, h, w, 3) uint8: each case's prompt, begun from its person's reference. strength: in (0, 1], how much of
    that is forgotten. As many denoising steps as all other ways take."""
    pipe: Any = StableDiffusionImg2ImgPipeline(**painter.pipe.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    sampling, made = painter.sampling, []
    for start in range(0, len(cases.cases), sampling.batch):
        part = cases.cases[start : start + sampling.batch]
        result = pipe(
            [case.prompt for case in part],
            image=[Image.fromarray(cases.references[case.own].image) for case in part],
            strength=strength,
            num_inference_steps=round(sampling.steps / strength),
            guidance_scale=sampling.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(case.seed) for case in part],
            output_type="np",
        )
        made.append(np.round(255 * result.images).astype(np.uint8))
        painter.progress(title, start + len(part), len(cases.cases))
    return np.concatenate(made)
