"""The squares of a group are one batch: each is what it is alone, whatever the batch, and the rest stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact.adapter import Region
from facefact.generate import GroupSettings, InpaintSettings, InTemplate, Settings, Studio, Template, text_to_image
from facefact.generate.group_squares import (
    APART,
    assigned,
    joined,
    portraits_joined,
    prompts_of,
    room_for,
    seed_of,
    squares_in_template,
    squares_over,
)
from facefact.generate.places import box_mask, column_masks
from facefact.generate.regions import region_mask, softened
from facefact.types import Face, FaceTokens, Portrait, UserError
from inpainting import FixedDetector, face_at, picture
from tiny import tiny_adapter, tiny_pipeline

SETTINGS = GroupSettings(prompt="people", seed=3, steps=3)
SQUARE = InpaintSettings(prompt="", skin=False)


def people_of(adapter: Any, count: int) -> list[FaceTokens]:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return [adapter.tokens(torch.rand(1, 3, 112, 112, generator=generator) * 2 - 1) for _ in range(count)]


def array(portrait: Portrait) -> np.ndarray:
    return np.asarray(portrait.image).astype(int)


def crowd(count: int, columns: int = 5) -> tuple[InTemplate, list[Face]]:
    """Rows of small faces."""
    faces = [face_at(30 + 70 * (i % columns), 25 + 80 * (i // columns), scale=0.25) for i in range(count)]
    pixels = picture(80 * -(-count // columns) + 40, 70 * columns + 40)
    return InTemplate(Template(pixels, None, pixels), np.zeros(pixels.shape[:2], np.float32), [], faces), faces


def in_template(pipe: Any, adapter: Any, tokens: list[FaceTokens], place: InTemplate, **given: Any) -> Portrait:
    settings = given.pop("settings", SETTINGS)
    regions = [Region(None, one) for one in tokens]
    return squares_in_template(pipe, adapter, regions, settings, place=place, square=SQUARE, detector=None, **given)


def test_twenty_people_whatever_the_batch(pipe: Any, adapter: Any) -> None:
    place, faces = crowd(20)
    people, rows = people_of(adapter, 20), []
    calls = pipe.unet.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    made = in_template(pipe, adapter, people, place, batch=8)
    calls.remove()
    assert max(rows) == 2 * 8, "memory is that of the batch"
    assert len(rows) < 20 * 2, "not one run for each"
    alone = in_template(pipe, adapter, people, place, batch=1)
    assert np.abs(array(made) - array(alone)).max() <= 1
    old = place.template.colours.astype(int)
    weights = [softened(region_mask(face, place.template.seen), face.longer_side) for face in faces]
    same = np.max(weights, axis=0) == 0
    np.testing.assert_array_equal(array(made)[same], old[same])
    for weight in weights:
        assert (array(made) != old)[weight > 0.5].mean() > 0.5
    assert made.recipe["kind"] == "group in a template"
    assert (made.recipe["way"], made.recipe["strength"], len(made.recipe["windows"])) == ("squares", 0.8, 20)


def test_each_has_words_and_noise_of_their_own(pipe: Any, adapter: Any) -> None:
    place, _ = crowd(2)
    ada = people_of(adapter, 1) * 2
    plain = in_template(pipe, adapter, ada, place)
    said = in_template(pipe, adapter, ada, place, settings=replace(SETTINGS, words=["", "laughing"]))
    x = place.template.seen.shape[1] // 3  # between the two
    np.testing.assert_array_equal(array(plain)[:, : x - 40], array(said)[:, : x - 40])
    assert (array(plain) != array(said)).any()
    assert [seed_of(SETTINGS, i) for i in range(2)] == [3, 3 + APART]
    with pytest.raises(UserError, match="words for 1 people, and 2"):
        in_template(pipe, adapter, ada, place, settings=replace(SETTINGS, words=["x"]))
    with pytest.raises(UserError, match="1 people for 2 faces"):
        in_template(pipe, adapter, ada[:1], place)


def test_a_person_may_count_less_than_the_others(pipe: Any, adapter: Any) -> None:
    place, _ = crowd(2)
    people, none = people_of(adapter, 2), replace(SETTINGS, scale=0.0)
    x = place.template.seen.shape[1] // 3  # between the two
    regions = [Region(None, people[0], scale=0.0), Region(None, people[1])]
    made = array(squares_in_template(pipe, adapter, regions, SETTINGS, place=place, square=SQUARE, detector=None))
    both, nobody = (
        array(in_template(pipe, adapter, people, place)),
        array(in_template(pipe, adapter, people, place, settings=none)),
    )
    assert np.abs(made[:, : x - 40] - nobody[:, : x - 40]).max() <= 1
    assert np.abs(made[:, x - 40 :] - both[:, x - 40 :]).max() <= 1
    portraits = array(portraits_joined(pipe, adapter, regions, replace(SETTINGS, width=128, height=64)))
    without = array(portraits_joined(pipe, adapter, regions, replace(none, width=128, height=64)))
    assert np.abs(portraits - without)[:, :54].max() <= 1
    assert np.abs(portraits - without)[:, 74:].max() > 1


def test_an_inpainting_model_takes_squares_too() -> None:
    inpainting = tiny_pipeline(in_channels=9)
    own = tiny_adapter(inpainting).attach(inpainting)
    place, _ = crowd(3)
    made, alone = (in_template(inpainting, own, people_of(own, 3), place, batch=batch) for batch in (3, 1))
    assert np.abs(array(made) - array(alone)).max() <= 1


def test_over_a_wide_picture(pipe: Any, adapter: Any) -> None:
    left, right = face_at(8, 8, scale=0.3), face_at(80, 10, scale=0.3)
    regions = [Region(mask, who) for mask, who in zip(column_masks(2), people_of(adapter, 2), strict=True)]
    wide = replace(SETTINGS, width=128, height=64)

    def made(way: Any, *faces: Face) -> Portrait:
        studio = Studio(pipe, adapter, detector=FixedDetector(*faces))
        return studio.group(regions, replace(wide, way=way))

    draft = made("together", left, right)
    assert made(None, right, left).recipe["way"] == "together", "faces that are large enough stay"
    squares = made("squares", right, left)
    assert (squares.recipe["way"], squares.recipe["kind"], squares.image.size) == ("squares", "group", (128, 64))
    assert (array(squares) != array(draft)).any()
    tiny = [face_at(20, 20, scale=0.1), face_at(90, 20, scale=0.1)]
    assert made(None, *tiny).recipe["way"] == "squares", "small ones are drawn anew"
    assert made(None, tiny[0]).recipe["way"] == "together"
    with pytest.raises(UserError, match="no face in the place of person 2 of 2"):
        made("squares", left)
    with pytest.raises(UserError, match="and there is none"):
        squares_over(pipe, adapter, regions, replace(wide, strength=0.5), square=SQUARE, detector=FixedDetector(left))


def test_portraits_side_by_side_are_each_ones_own(pipe: Any, adapter: Any) -> None:
    people = people_of(adapter, 2)
    regions = [Region(None, one) for one in people]
    made = portraits_joined(pipe, adapter, regions, replace(SETTINGS, width=128, height=64, words=["", "a hat"]))
    for i, (who, words) in enumerate(zip(people, ("people", "a hat"), strict=True)):
        alone = text_to_image(pipe, adapter, who, Settings(prompt=words, seed=3 + APART * i, steps=3))
        inner = np.s_[:, 64 * i + 10 : 64 * i + 54]
        assert np.abs(array(made)[inner] - array(alone)[:, 10:54]).max() <= 1
    assert (made.recipe["way"], made.recipe["kind"]) == ("portraits", "group")
    place, _ = crowd(2)
    with pytest.raises(UserError, match="not into a template"):
        Studio(pipe, adapter).group(regions, replace(SETTINGS, way="portraits"), place=place)


def test_the_picture_has_room_for_each_portrait() -> None:
    assert room_for(column_masks(2), 64, unit=8) == (128, 64)
    assert room_for(column_masks(3), 64, unit=8) == (192, 64)
    corner = box_mask((0.0, 0.0, 0.25, 0.25))
    assert room_for([corner, corner], 64, unit=8) == (128, 128), "at most a portrait's side for each person"
    whole = torch.ones(100, 200)  # a layout, wide as it is drawn
    assert room_for([whole, whole], 64, unit=8) == (128, 64)


def test_nobody_said_how_large(pipe: Any, adapter: Any) -> None:
    regions = [Region(None, one) for one in people_of(adapter, 2)]
    made = portraits_joined(pipe, adapter, regions, replace(SETTINGS, width=None, height=None))
    assert made.image.size == (128, 64) == (made.recipe["width"], made.recipe["height"])


def test_what_is_in_nobodys_place_is_the_wide_pictures() -> None:
    behind = picture(40, 80)
    weight = np.zeros((40, 80), np.float32)
    weight[:, 10:50] = 1
    out = joined(behind, [np.full((64, 64, 3), 200, np.uint8)], [weight])
    np.testing.assert_array_equal(out[:, 60:], behind[:, 60:])
    assert (out[:, 20:40] == 200).all()
    with pytest.raises(UserError, match="smaller than a pixel"):
        joined(behind, [np.zeros((64, 64, 3), np.uint8)], [np.zeros((40, 80), np.float32)])


def test_portraits_of_one_colour_leave_no_seam() -> None:
    weights = [mask.numpy() for mask in (box_mask((0, 0, 0.5, 1)), box_mask((0.5, 0, 1, 1)))]
    weights = [np.asarray(Image.fromarray(one).resize((128, 64))) for one in weights]
    out = joined(np.zeros((64, 128, 3), np.uint8), [np.full((32, 32, 3), 90, np.uint8)] * 2, weights)
    assert (out == 90).all()


def test_whose_face_is_which() -> None:
    left, right = face_at(5, 5, scale=0.3), face_at(85, 5, scale=0.3)
    assert assigned([right, left], column_masks(2), (64, 128, 3)) == [left, right]
    assert assigned([right, left], column_masks(2)[::-1], (64, 128, 3)) == [right, left]
    assert assigned([right], column_masks(2), (64, 128, 3)) == [None, right]
    assert assigned([right, left], [None, None, None], (64, 128, 3)) == [left, right, None]


def test_words_or_the_prompt() -> None:
    assert prompts_of(SETTINGS, 2) == ["people", "people"]
    assert prompts_of(replace(SETTINGS, words=["a", ""]), 2) == ["a", "people"]
