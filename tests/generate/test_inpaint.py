from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact.faces import open_picture
from facefact.generate import (
    InpaintSettings,
    Replacement,
    Template,
    inpaint,
    inpaint_faces,
    open_template,
    save_portrait,
)
from facefact.generate.regions import region_mask, softened
from facefact.types import Face, FaceTokens, UserError
from inpainting import FixedDetector, face_at, picture
from profiles import ADOBE_GAMMA, ADOBE_RGB, SRGB, icc
from tiny import tiny_adapter, tiny_pipeline

SETTINGS = InpaintSettings(prompt="a smile", seed=3, steps=4, strength=0.75, skin=False)


def opened(**kinds: int) -> tuple[Any, Any, FaceTokens]:
    pipe = tiny_pipeline(**kinds)
    adapter = tiny_adapter(pipe).attach(pipe)
    return pipe, adapter, adapter.tokens(torch.zeros(1, 3, 112, 112))


def noise(channels: int = 3) -> Template:
    pixels = picture(300, 400, channels)
    return Template(pixels[..., :3], pixels[..., 3] if channels == 4 else None, pixels[..., :3])


def kept(template: Template, *faces: Face) -> np.ndarray:
    """(h, w) bool: what none of the faces' regions touches."""
    weights = [softened(region_mask(face, template.seen), face.longer_side) for face in faces]
    return np.max(weights, axis=0) == 0


@pytest.mark.parametrize(("in_channels", "latent_channels"), [(4, 4), (9, 4), (8, 8)])
def test_only_the_face_changes(in_channels: int, latent_channels: int) -> None:
    model, template = opened(in_channels=in_channels, latent_channels=latent_channels), noise(4)
    face, steps = face_at(200, 120, scale=0.8), []
    arguments: dict[str, Any] = {"template": template, "face": face, "on_step": lambda: steps.append(1)}
    one, again = (inpaint(*model, SETTINGS, **arguments) for _ in range(2))
    out = np.asarray(one.image)
    np.testing.assert_array_equal(out, np.asarray(again.image))
    same = kept(template, face)
    np.testing.assert_array_equal(out[same][:, :3], template.colours[same])
    np.testing.assert_array_equal(out[..., 3], template.alpha)
    assert (out[..., :3][~same] != template.colours[~same]).mean() > 0.5
    assert one.recipe["kind"] == "inpainting"
    assert one.recipe["prompt"] == "a smile"
    assert steps


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_mode_and_profile_are_kept_and_the_rest_looks_as_before(mode: str, tmp_path: Path) -> None:
    profile = icc(SRGB, 1.8, grey=True) if mode[0] == "L" else icc(ADOBE_RGB, ADOBE_GAMMA)
    stored = Image.fromarray(picture(300, 400, 4)).convert(mode)
    stored.save(tmp_path / "a.png", icc_profile=profile)
    template, face = open_template(tmp_path / "a.png"), face_at(200, 120, scale=0.8)
    save_portrait(inpaint(*opened(), SETTINGS, template=template, face=face), tmp_path / "b.png")
    same = kept(template, face)
    with Image.open(tmp_path / "b.png") as out:
        assert (out.mode, out.info["icc_profile"]) == (mode, profile)
        np.testing.assert_array_equal(np.asarray(out)[same], np.asarray(stored)[same])
    seen = open_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(seen[same], template.seen[same])
    assert (seen[~same] != template.seen[~same]).mean() > 0.3


def test_several_people_in_one_template() -> None:
    pipe, adapter, ada = opened()
    bob = adapter.tokens(torch.ones(1, 3, 112, 112))
    template, left, right = noise(), face_at(20, 120, scale=0.8), face_at(260, 60, scale=0.8)

    def make(*people: tuple[Face, FaceTokens]) -> np.ndarray:
        found = [Replacement(face, tokens) for face, tokens in people]
        return np.asarray(inpaint_faces(pipe, adapter, found, SETTINGS, template=template).image)

    both = make((left, ada), (right, bob))
    same = kept(template, left, right)
    np.testing.assert_array_equal(both[same], template.colours[same])
    alone = ~kept(template, left)
    np.testing.assert_array_equal(both[alone], make((left, ada))[alone])
    assert not np.array_equal(both, make((left, bob), (right, ada)))
    with pytest.raises(UserError, match="no face is to be replaced"):
        make()


def test_faces_side_by_side_share_what_both_want() -> None:
    """Their squares and their regions overlap: nothing is blended twice, and outside of both nothing changes."""
    pipe, adapter, tokens = opened()
    template, faces = noise(), [face_at(100, 100), face_at(160, 100)]
    made = inpaint_faces(pipe, adapter, [Replacement(face, tokens) for face in faces], SETTINGS, template=template)
    same = kept(template, *faces)
    np.testing.assert_array_equal(np.asarray(made.image)[same], template.colours[same])
    assert len(made.recipe["windows"]) == 2


@pytest.mark.parametrize("shape", ["template", "person"])
@pytest.mark.parametrize("local", [False, True])
def test_a_batch_of_faces_is_the_same_picture(shape: Any, local: bool) -> None:
    """Three faces, of which two are side by side and wait for each other."""
    pipe, adapter, ada = opened()
    tokens = [ada, adapter.tokens(torch.ones(1, 3, 112, 112)), ada]
    template, faces = noise(), [face_at(10, 150, scale=0.6), face_at(70, 150, scale=0.6), face_at(280, 60, scale=0.6)]
    people = [
        Replacement(face, one, words, seed=seed)
        for face, one, words, seed in zip(faces, tokens, ("a", "", "b"), (1, 2, None), strict=True)
    ]
    settings = replace(SETTINGS, shape=shape, local=local, skin=True)
    detector, rows = FixedDetector(face_at(8, 6, scale=0.4)), []
    calls = pipe.unet.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    one, three = (
        np.asarray(
            inpaint_faces(pipe, adapter, people, settings, template=template, detector=detector, batch=batch).image
        ).astype(int)
        for batch in (1, 3)
    )
    calls.remove()
    assert set(rows) == {2, 4}, "the first and the last are one batch, the one between comes later"
    assert np.abs(one - three).max() <= 1


def test_the_users_mask_is_what_changes() -> None:
    model, template, face = opened(), noise(), face_at(150, 100, scale=0.8)
    mask = np.zeros((300, 400), bool)
    mask[120:170, 170:230] = True
    made = np.asarray(inpaint(*model, SETTINGS, template=template, face=face, mask=mask).image)
    same = softened(mask, face.longer_side) == 0
    np.testing.assert_array_equal(made[same], template.colours[same])
    assert (made[mask] != template.colours[mask]).mean() > 0.5
    with pytest.raises(UserError, match="300 x 400 and the template 400 x 300"):
        inpaint(*model, SETTINGS, template=template, face=face, mask=mask.T)
    with pytest.raises(UserError, match="leaves the chosen face out"):
        inpaint(*model, SETTINGS, template=template, face=face, mask=np.zeros_like(mask))


@pytest.mark.parametrize("region", ["face", "hair", "head"])
def test_the_persons_shape_changes_the_old_head_and_the_new_alone(region: Any) -> None:
    model, template, face = opened(sample_size=16), noise(), face_at(150, 100, scale=0.8)
    drawn = face_at(30, 25, scale=0.6)  # in the portrait of 128 px
    steps: list[int] = []
    settings = replace(SETTINGS, shape="person", region=region)
    detector = FixedDetector(drawn)
    made = inpaint(*model, settings, template=template, face=face, detector=detector, on_step=lambda: steps.append(1))
    assert len(steps) == settings.steps_taken + 2, "PNDM takes a step more in both calls"
    out = np.asarray(made.image)
    far = np.ones((300, 400), bool)
    far[30:270, 80:320] = False
    np.testing.assert_array_equal(out[far], template.colours[far])
    in_place = inpaint(*model, replace(settings, shape="template"), template=template, face=face, detector=detector)
    assert not np.array_equal(out, np.asarray(in_place.image))


def test_what_the_persons_shape_needs() -> None:
    template, face = noise(), face_at(150, 100)
    settings = replace(SETTINGS, shape="person")
    with pytest.raises(UserError, match="need a face detector"):
        inpaint(*opened(), settings, template=template, face=face)
    with pytest.raises(UserError, match="no face is found in the portrait"):
        inpaint(*opened(), settings, template=template, face=face, detector=FixedDetector())
    with pytest.raises(UserError, match="this is an inpainting model"):
        inpaint(*opened(in_channels=9), settings, template=template, face=face, detector=FixedDetector(face))


def test_steps_are_counted_for_the_progress() -> None:
    assert InpaintSettings(prompt="", steps=10, strength=0.5).steps_taken == 5
    assert InpaintSettings(prompt="", shape="person", steps=10, strength=0.5).steps_taken == 15


def test_words_are_for_their_face_and_stand_in_the_recipe() -> None:
    pipe, adapter, tokens = opened()
    face = face_at(150, 100)
    plain, turned = (
        inpaint_faces(pipe, adapter, [Replacement(face, tokens, words)], SETTINGS, template=noise())
        for words in ("", "turned left")
    )
    assert "words" not in plain.recipe
    assert turned.recipe["words"] == ["turned left"]
    assert turned.recipe["prompt"] == "a smile"
    assert not np.array_equal(np.asarray(plain.image), np.asarray(turned.image))


def test_local_mode_knows_the_place_of_the_face() -> None:
    pipe = tiny_pipeline(sample_size=16)
    adapter = tiny_adapter(pipe).attach(pipe)
    tokens = adapter.tokens(torch.zeros(1, 3, 112, 112))
    seen: list[int] = []
    for _, layer in adapter.layers.items():
        layer.ff.register_forward_hook(lambda module, args, y: seen.append(y.shape[1]))
    rgba = picture(300, 400, 4)
    arguments: dict[str, Any] = {
        "template": Template(rgba[..., :3], None, rgba[..., :3]),
        "face": face_at(200, 120, scale=0.5),
    }
    exact, local = (
        inpaint(pipe, adapter, tokens, replace(SETTINGS, local=local), **arguments) for local in (False, True)
    )
    assert max(seen) == 256
    assert max(seen[len(seen) // 2 :]) < 256 / 2, "in every step"
    assert not np.array_equal(np.asarray(exact.image), np.asarray(local.image))
    assert local.recipe["local"] is True


@pytest.mark.parametrize(
    "wrong", [{"strength": 0.0}, {"strength": 1.1}, {"width": 64}, {"steps": 2, "strength": 0.3}, {"context": 0.5}]
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        InpaintSettings(prompt="", **wrong)


def test_a_strength_that_leaves_no_step() -> None:
    with pytest.raises(UserError, match="leaves none of 2 steps"):
        InpaintSettings(prompt="", steps=2, strength=0.3)
