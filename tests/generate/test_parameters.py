"""The text that other tools read, written and read back."""

from __future__ import annotations

from typing import Any

import pytest

from facefact.generate.parameters import parameters_text, read_parameters, recipe_of

RECIPE: dict[str, Any] = {
    "kind": "text-to-image",
    "prompt": "a coat, (red:1.2)",
    "negative_prompt": "snow",
    "seed": 7,
    "steps": 25,
    "scale": 0.7,
    "guidance_scale": 5.0,
    "face_guidance": True,
    "start": 0.1,
    "end": 0.9,
    "local": False,
    "width": 512,
    "height": 768,
    "scheduler": "PNDMScheduler",
    "versions": {"facefact": "1.2.3"},
}
MODEL = {"name": "dreamshaper_8.safetensors", "sha256": "0123456789abcdef"}
LORAS = [
    {"name": "detail.safetensors", "sha256": "fedcba9876543210", "weight": 0.8},
    {"name": "film: grain, old", "sha256": "aaaabbbbccccdddd", "weight": 1.0},
]


def test_it_is_the_text_of_the_web_ui() -> None:
    assert parameters_text(RECIPE | {"model": MODEL | {"loras": LORAS}}) == (
        "a coat, (red:1.2) <lora:detail:0.8> <lora:film grain old:1>\nNegative prompt: snow\n"
        "Steps: 25, Sampler: PNDMScheduler, CFG scale: 5.0, Seed: 7, Face scale: 0.7, Face start: 0.1, Face end: 0.9, "
        "Size: 512x768, Model hash: 0123456789, Model: dreamshaper_8, "
        'Lora hashes: "detail: fedcba9876, film grain old: aaaabbbbcc", Version: facefact 1.2.3, '
        'Hashes: {"model": "0123456789", "lora:detail": "fedcba9876", "lora:film grain old": "aaaabbbbcc"}'
    )


def test_another_autoencoder_is_named_as_the_web_ui_does() -> None:
    text = parameters_text(RECIPE | {"model": MODEL | {"vae": {"name": "soft.safetensors", "sha256": "1234567890ff"}}})
    assert "Model: dreamshaper_8, VAE hash: 1234567890, VAE: soft, " in text
    assert text.endswith('Hashes: {"model": "0123456789", "vae": "1234567890"}')


def test_a_loras_weight_can_be_read_whatever_its_name() -> None:
    lora = {"name": 'sd\\style "a", <b>:{1}.safetensors', "sha256": "ab" * 32, "weight": 0.25}
    prompt, _, settings = read_parameters(parameters_text(RECIPE | {"model": MODEL | {"loras": [lora]}}))
    assert prompt.endswith(" <lora:sdstyle a b1:0.25>")
    assert settings["Lora hashes"] == "sdstyle a b1: ababababab"


def test_what_is_not_there_is_not_named() -> None:
    text = parameters_text(RECIPE | {"negative_prompt": ""})
    assert text.splitlines()[0] == RECIPE["prompt"]
    assert text.splitlines()[1].startswith("Steps: 25, ")
    assert not any(word in text for word in ("Negative", "Model", "Hashes", "Lora", "None", "local", "strength"))


@pytest.mark.parametrize("name", ["plain", "a, b", "v1:2", "two\nlines", 'the "best"', "back\\slash, 雪", "a{b}"])
def test_values_are_quoted_and_read_back(name: str) -> None:
    text = parameters_text(RECIPE | {"model": {"name": name, "sha256": "ab" * 32}})
    assert text.count("\n") == 2
    prompt, negative, settings = read_parameters(text)
    assert (prompt, negative) == ("a coat, (red:1.2)", "snow")
    assert (settings["Model"], settings["Seed"], settings["Version"]) == (name, "7", "facefact 1.2.3")
    assert settings["Hashes"] == '{"model": "ababababab"}'


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"model": MODEL | {"loras": LORAS}},
        {"kind": "inpainting", "strength": 0.8, "local": True, "face_guidance": False},
    ],
)
def test_the_settings_are_read_back(more: dict[str, Any]) -> None:
    recipe = RECIPE | {"prompt": "two\nlines <b>", "negative_prompt": "more\nlines, a: b"} | more
    known = {field: value for field, value in recipe.items() if field not in ("versions", "model", "adapter")}
    read = recipe_of(parameters_text(recipe)) or {}
    assert {field: value for field, value in read.items() if field not in ("model", "adapter")} == known


def test_what_it_was_made_with_is_read_back() -> None:
    """As far as the text keeps it: the plain name, and the first digits of the hash."""
    vae, adapter = {"name": "soft, old", "sha256": "1234567890ff"}, {"name": "fact", "sha256": "ba9876543210"}
    prompt = "a coat <lora:typed:1>"  # the user's own, and part of the prompt
    recipe = RECIPE | {"prompt": prompt, "model": MODEL | {"vae": vae, "loras": LORAS}, "adapter": adapter}
    read = recipe_of(parameters_text(recipe)) or {}
    assert read["prompt"] == prompt
    assert read["adapter"] == {"name": "fact", "sha256": "ba98765432"}
    assert read["model"] == {
        "name": "dreamshaper_8",
        "sha256": "0123456789",
        "vae": {"name": "soft, old", "sha256": "1234567890"},
        "loras": [
            {"name": "detail", "sha256": "fedcba9876", "weight": 0.8},
            {"name": "film grain old", "sha256": "aaaabbbbcc", "weight": 1.0},
        ],
    }


def test_other_programs_texts_are_read_but_no_recipe() -> None:
    text = (
        "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Version: v1.9"
    )
    assert read_parameters(text)[2]["Sampler"] == "Euler a"
    assert recipe_of(text) is None
    assert recipe_of("") is None
