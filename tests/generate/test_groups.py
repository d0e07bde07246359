"""Several people in one picture: with one who has all of it, it is that person's portrait; a template stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from facefact.adapter import Region
from facefact.faces import face_from_landmarks
from facefact.generate import GroupSettings, InTemplate, Settings, Studio, Template, paint_group, text_to_image
from facefact.generate.groups import working_size
from facefact.generate.places import box_mask, face_masks, nearest_masks, soft_edge
from facefact.types import FaceTokens, Portrait, UserError
from tiny import tiny_pipeline

ALL = box_mask((0, 0, 1, 1))
SETTINGS = GroupSettings(prompt="two people", seed=3, steps=3)
POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32) / 2


@pytest.fixture
def people(adapter: Any) -> list[FaceTokens]:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return [adapter.tokens(torch.rand(1, 3, 112, 112, generator=generator) * 2 - 1) for _ in range(2)]


@pytest.fixture
def halves(people: list[FaceTokens]) -> list[Region]:
    return [Region(box_mask(box), who) for box, who in zip(((0, 0, 0.5, 1), (0.5, 0, 1, 1)), people, strict=True)]


def array(portrait: Portrait) -> np.ndarray:
    return np.asarray(portrait.image).astype(int)


def test_one_person_everywhere_is_their_portrait(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    alone = text_to_image(pipe, adapter, people[0], Settings(prompt="two people", seed=3, steps=3))
    group = paint_group(pipe, adapter, [Region(ALL, people[0])], SETTINGS)
    assert np.abs(array(group) - array(alone)).max() <= 1
    said = paint_group(pipe, adapter, [Region(ALL, people[0])], replace(SETTINGS, prompt="x", words=["two people"]))
    assert np.abs(array(said) - array(alone)).max() <= 1, "its words are read in place of the prompt"


def test_people_and_words_have_their_places(pipe: Any, adapter: Any, halves: list[Region]) -> None:
    wide = replace(SETTINGS, width=128, height=64, words=["a red coat", "a blue hat"])
    one = paint_group(pipe, adapter, halves, wide)
    assert one.image.size == (128, 64)
    assert one.recipe["kind"] == "group"
    assert one.recipe["words"] == ["a red coat", "a blue hat"]
    other = paint_group(pipe, adapter, halves[::-1], replace(wide, words=["a blue hat", "a red coat"]))
    assert np.abs(array(one) - array(other)).max() <= 1, "the order of people means nothing"
    swapped = paint_group(pipe, adapter, halves, replace(wide, words=["a blue hat", "a red coat"]))
    assert np.abs(array(one) - array(swapped)).max() > 1
    assert [type(one).__name__ for one in pipe.unet.attn_processors.values()] == ["AttnProcessor2_0"] * len(
        pipe.unet.attn_processors
    )


def template(width: int = 200, height: int = 96) -> tuple[InTemplate, list[torch.Tensor]]:
    """A picture with two faces."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    faces = [face_from_landmarks(POINTS + where) for where in ((5, 10), (120, 20))]
    masks = face_masks(faces, pixels.shape)
    weights = [soft_edge(mask, face) for mask, face in zip(masks, faces, strict=True)]
    reading = nearest_masks(faces, pixels.shape)
    return InTemplate(Template(pixels, None, pixels), np.max(weights, axis=0), reading), masks


def test_a_template_stays_but_for_its_faces(pipe: Any, adapter: Any, people: list[FaceTokens]) -> None:
    place, masks = template()
    regions = [Region(mask, who) for mask, who in zip(masks, people, strict=True)]
    settings = replace(SETTINGS, steps=4, words=["", "laughing"])
    made = paint_group(pipe, adapter, regions, settings, place=place)
    new, old, weight = array(made), place.template.colours.astype(int), place.weight
    assert new.shape == old.shape
    np.testing.assert_array_equal(new[weight == 0], old[weight == 0])
    for mask in masks:
        assert (new != old)[mask.numpy() == 1].mean() > 0.5
    assert made.recipe["kind"] == "group in a template"
    assert made.recipe["strength"] == 0.8
    swapped = paint_group(pipe, adapter, [replace(regions[0], tokens=people[1]), regions[1]], settings, place=place)
    assert (array(swapped) != new)[masks[0].numpy() == 1].any()


def test_the_size_of_a_template(pipe: Any) -> None:
    assert working_size(pipe, (300, 600, 3), SETTINGS) == (128, 64), "the shorter side is what the model is made for"
    assert working_size(pipe, (300, 410, 3), replace(SETTINGS, width=128, height=128)) == (176, 128)


def test_in_a_studio(pipe: Any, adapter: Any, halves: list[Region]) -> None:
    studio, steps = Studio(pipe, adapter, origin={"model": {"name": "tiny"}}), []
    one_run = replace(SETTINGS, way="together")
    made = studio.group(halves, one_run, origin={"people": []}, on_step=lambda: steps.append(1))
    assert made.recipe["model"] == {"name": "tiny"}
    assert made.recipe["people"] == []
    assert len(steps) >= SETTINGS.steps
    np.testing.assert_array_equal(array(made), array(paint_group(pipe, adapter, halves, SETTINGS)))
    assert made.recipe["way"] == "together"


def test_people_who_are_found(pipe: Any, adapter: Any, halves: list[Region]) -> None:
    nowhere = [replace(one, mask=None) for one in halves]
    assert paint_group(pipe, adapter, nowhere, replace(SETTINGS, local=True)).image.size == (64, 64)
    with pytest.raises(UserError, match="found by local mode"):
        paint_group(pipe, adapter, nowhere, SETTINGS)
    with pytest.raises(UserError, match="know their place"):
        paint_group(pipe, adapter, nowhere, replace(SETTINGS, local=True, words=["a", "b"]))


def test_what_is_refused(adapter: Any, pipe: Any, halves: list[Region]) -> None:
    with pytest.raises(UserError, match="words for 1 people"):
        paint_group(pipe, adapter, halves, replace(SETTINGS, words=["one"]))
    with pytest.raises(UserError, match="strength 0"):
        GroupSettings(prompt="x", strength=0)
    with pytest.raises(UserError, match="and there is none"):
        paint_group(pipe, adapter, halves, replace(SETTINGS, strength=0.5))
    inpainting = tiny_pipeline(in_channels=9)
    with pytest.raises(UserError, match="inpainting model"):
        paint_group(inpainting, adapter, halves, SETTINGS)
