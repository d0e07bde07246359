from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from facefact.generate import Settings, text_to_image
from facefact.types import FaceTokens, UserError
from tiny import tiny_pipeline

SETTINGS = Settings(prompt="a red coat", seed=7, steps=2)


@pytest.fixture
def tokens(adapter: Any) -> FaceTokens:
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        return adapter.tokens(pixels)


def array(portrait: Any) -> np.ndarray:
    return np.asarray(portrait.image)


def test_the_same_settings_give_the_same_picture(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    one, again = (text_to_image(pipe, adapter, tokens, SETTINGS) for _ in range(2))
    other = text_to_image(pipe, adapter, tokens, replace(SETTINGS, seed=8))
    np.testing.assert_array_equal(array(one), array(again))
    assert (array(one) != array(other)).any()
    assert one.recipe == again.recipe


def test_scale_0_is_the_base_model(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    portrait = text_to_image(pipe, adapter, tokens, replace(SETTINGS, scale=0.0))
    with_face = text_to_image(pipe, adapter, tokens, SETTINGS)
    adapter.detach()
    generator = torch.Generator().manual_seed(7)
    base = pipe("a red coat", negative_prompt="", num_inference_steps=2, guidance_scale=5.0, generator=generator)
    np.testing.assert_array_equal(array(portrait), np.asarray(base.images[0]))
    assert (array(with_face) != array(portrait)).any()


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_with_and_without_guidance(pipe: Any, adapter: Any, tokens: FaceTokens, guidance_scale: float) -> None:
    portrait = text_to_image(pipe, adapter, tokens, replace(SETTINGS, guidance_scale=guidance_scale))
    assert portrait.image.size == (64, 64)


def test_guidance_may_strengthen_the_words_alone(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    other = FaceTokens(tokens.face, tokens.null + 1)  # another null face: it counts where the face is guided
    for face_guidance in (True, False):
        settings = replace(SETTINGS, face_guidance=face_guidance)
        one, two = (array(text_to_image(pipe, adapter, who, settings)) for who in (tokens, other))
        assert (one != two).any() == face_guidance


def test_sizes(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    portrait = text_to_image(pipe, adapter, tokens, replace(SETTINGS, width=96, height=80))
    assert portrait.image.size == (96, 80)
    assert (portrait.recipe["width"], portrait.recipe["height"]) == (96, 80)
    for bad in (4, 65):
        with pytest.raises(UserError, match="take a multiple of 8"):
            text_to_image(pipe, adapter, tokens, replace(SETTINGS, width=bad))


def test_every_step_is_reported(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    steps: list[int] = []
    text_to_image(pipe, adapter, tokens, replace(SETTINGS, steps=3), on_step=lambda: steps.append(1))
    assert len(steps) >= 3  # PNDM takes one more


def test_the_recipe_is_json_and_whole(pipe: Any, adapter: Any, tokens: FaceTokens) -> None:
    recipe = text_to_image(pipe, adapter, tokens, SETTINGS, origin={"faces": ["ab"]}).recipe
    assert json.loads(json.dumps(recipe)) == recipe
    expected = {"prompt": "a red coat", "negative_prompt": "", "seed": 7, "steps": 2, "scale": 0.7, "width": 64}
    assert expected.items() <= recipe.items()
    assert recipe["scheduler"] == "PNDMScheduler"
    assert recipe["faces"] == ["ab"]
    assert {"torch", "diffusers", "facefact"} <= set(recipe["versions"])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"seed": -1}, {"scale": -0.1}])
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Settings(prompt="", **wrong)


def test_an_inpainting_model_is_refused(adapter: Any, tokens: FaceTokens) -> None:
    with pytest.raises(UserError, match="inpainting model"):
        text_to_image(tiny_pipeline(in_channels=9), adapter, tokens, SETTINGS)
