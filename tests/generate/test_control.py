from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.generate import Settings, Studio
from facefact.generate.control import add_controlnet, control_image, pose_picture
from facefact.types import Pose, UserError
from inpainting import face_at, picture
from tiny import save_tiny_model, tiny_pipeline


def saved_controlnet(directory: Path, *, width: int = 32) -> Path:
    from diffusers import ControlNetModel

    net = ControlNetModel.from_unet(tiny_pipeline(width=width).unet, conditioning_embedding_out_channels=(4, 4, 4, 4))
    net.save_pretrained(directory)
    return directory


def test_the_pose_picture_shows_each_head_where_it_is() -> None:
    one, two = face_at(20, 20), face_at(200, 60, scale=0.6)
    drawn = pose_picture((300, 400, 3), [one, two])
    assert drawn.shape == (300, 400, 3)
    for face in (one, two):
        nose, eye = (face.landmarks[i].round().astype(int) for i in (2, 0))
        np.testing.assert_array_equal(drawn[nose[1], nose[0]], (255, 0, 0))
        np.testing.assert_array_equal(drawn[eye[1], eye[0]], (170, 0, 255))
    assert (drawn[:, 350:] == 0).all()
    np.testing.assert_array_equal(
        drawn, np.maximum(pose_picture((300, 400, 3), [one]), pose_picture((300, 400, 3), [two]))
    )


@pytest.mark.parametrize(("yaw", "hidden"), [(-40.0, (255, 0, 170)), (40.0, (85, 0, 255))])
def test_a_turned_head_hides_an_ear(yaw: float, hidden: tuple[int, int, int]) -> None:
    ahead = face_at(20, 20)
    turned = replace(ahead, pose=Pose(yaw, 0.0, 0.0))
    assert (pose_picture((200, 200), [ahead]) == hidden).all(2).any()
    assert not (pose_picture((200, 200), [turned]) == hidden).all(2).any()


def test_edges_are_white_on_black_and_depth_is_not_drawn() -> None:
    square = np.zeros((60, 60, 3), np.uint8)
    square[20:40, 20:40] = 255
    edges = np.asarray(control_image("canny", square, []))
    assert set(np.unique(edges)) == {0, 255}
    assert edges[30, 19:22].any()
    assert not edges[28:32, 28:32].any()
    with pytest.raises(UserError, match="--control-image"):
        control_image("depth", square, [])


def test_a_studio_with_a_controlnet_reads_the_control_image(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    net = saved_controlnet(tmp_path / "pose")
    studio = Studio.open(model=str(tmp_path / "model"), device="cpu", control_model=net)
    assert studio.origin["model"]["controlnet"]["name"] == "pose"
    assert len(studio.origin["model"]["controlnet"]["sha256"]) == 64
    import torch

    tokens = studio.adapter.tokens(torch.zeros(1, 3, 112, 112))
    control = Image.fromarray(picture(64, 64))
    assert studio.text_to_image(tokens, Settings(prompt="x", steps=1, control_image=control)).image.size == (64, 64)
    with pytest.raises(UserError, match="needs a control image"):
        studio.text_to_image(tokens, Settings(prompt="x", steps=1))


@pytest.mark.parametrize("in_channels", [4, 9])
def test_the_pipeline_keeps_its_kind(tmp_path: Path, in_channels: int) -> None:
    made, _ = add_controlnet(tiny_pipeline(in_channels=in_channels), saved_controlnet(tmp_path / "net"))
    assert type(made).__name__ == "StableDiffusionControlNet" + ("" if in_channels == 4 else "Inpaint") + "Pipeline"


def test_what_is_no_controlnet_for_this_model(tmp_path: Path) -> None:
    pipe: Any = tiny_pipeline()
    with pytest.raises(UserError, match="no ControlNet in"):
        add_controlnet(pipe, tmp_path)
    with pytest.raises(UserError, match="reads text of width 64, this model has 32"):
        add_controlnet(pipe, saved_controlnet(tmp_path / "wide", width=64))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot use the ControlNet"):
        add_controlnet(pipe, tmp_path / "broken")
