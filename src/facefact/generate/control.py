"""ControlNets: opened from a directory, and the control images that can be drawn from a template without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from facefact.faces.align import alignment, inverse, transform
from facefact.generate.models import UNREADABLE, one_line
from facefact.generate.parts import content_hash
from facefact.generate.text_to_image import reads_latents_alone
from facefact.types import Face, UserError

Control = Literal["pose", "canny", "depth"]

CANNY = (100, 200)  # the thresholds that the published ControlNets for edges learned from
# OpenPose's head as its ControlNets learned it: points by name with their colours, and the limbs between them.
POINTS = {
    "nose": (255, 0, 0),
    "neck": (255, 85, 0),
    "eye at the left": (170, 0, 255),
    "eye at the right": (255, 0, 255),
    "ear at the left": (255, 0, 170),
    "ear at the right": (85, 0, 255),
}
LIMBS = (
    ("neck", "nose", (0, 0, 153)),
    ("nose", "eye at the left", (51, 0, 153)),
    ("eye at the left", "ear at the left", (102, 0, 153)),
    ("nose", "eye at the right", (153, 0, 153)),
    ("eye at the right", "ear at the right", (153, 0, 102)),
)
# Where ears and neck lie in the 112 px template of a face that looks ahead; a turned head hides the further ear.
NECK, EARS = (56.0, 135.0), ((12.0, 62.0), (100.0, 62.0))
NO_DEPTH = (
    "depth is not drawn here, a model has to see it: give the template's depth picture (near white, far black, as "
    "MiDaS and Depth Anything draw it) with --control-image PICTURE, or take --control pose"
)
HIDDEN = 25.0  # degrees of yaw from which on the further ear is not seen


def add_controlnet(pipe: Any, directory: str | Path) -> tuple[Any, dict[str, Any]]:
    """The same parts as a pipeline with the ControlNet of a directory, and what the recipe says of it.

    UserError: there is none, it is not whole, or diffusers has no such pipeline for this model.
    """
    from diffusers import AutoPipelineForInpainting, AutoPipelineForText2Image, ControlNetModel

    path = Path(directory).expanduser()
    path = path / "controlnet" if (path / "controlnet").is_dir() else path
    if not (path / "config.json").is_file():
        raise UserError(f"no ControlNet in {directory}: give a directory of diffusers with a config.json")
    kind = AutoPipelineForText2Image if reads_latents_alone(pipe) else AutoPipelineForInpainting
    try:
        net = ControlNetModel.from_pretrained(str(path), torch_dtype=pipe.unet.dtype, local_files_only=True)
        made = kind.from_pipe(pipe, controlnet=net.to(pipe.unet.device))
    except UNREADABLE as error:
        raise UserError(f"cannot use the ControlNet {directory} with this model: {one_line(error)}") from error
    if net.config.cross_attention_dim != pipe.unet.config.cross_attention_dim:
        wanted, given = pipe.unet.config.cross_attention_dim, net.config.cross_attention_dim
        raise UserError(f"the ControlNet {directory} reads text of width {given}, this model has {wanted}")
    return made, {"name": path.name, "sha256": content_hash(path)}


def control_image(kind: Control, picture: np.ndarray, faces: Sequence[Face]) -> Image.Image:
    """What a ControlNet for "pose" or "canny" reads, of an (h, w, 3) uint8 RGB picture and the faces in it.

    UserError: "depth", which only a model can see.
    """
    if kind == "pose":
        return Image.fromarray(pose_picture(picture.shape, faces))
    if kind == "canny":
        edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY)
        return Image.fromarray(np.repeat(edges[..., None], 3, axis=2))
    raise UserError(NO_DEPTH)


def pose_picture(shape: tuple[int, ...], faces: Sequence[Face]) -> np.ndarray:
    """(h, w, 3) uint8 RGB: the heads as OpenPose draws them, on black, for a picture of shape (h, w, ...)."""
    canvas = np.zeros((*shape[:2], 3), np.uint8)
    for face in faces:
        points = head_points(face)
        thick = max(1, round(0.03 * float(np.linalg.norm(points["neck"] - points["nose"])) * 2))
        for start, end, colour in LIMBS:
            if start in points and end in points:
                cv2.line(canvas, _pixel(points[start]), _pixel(points[end]), colour, thick, cv2.LINE_AA)
        for name, point in points.items():
            cv2.circle(canvas, _pixel(point), thick, POINTS[name], -1, cv2.LINE_AA)
    return canvas


def head_points(face: Face) -> dict[str, np.ndarray]:
    """(2,) of nose, neck, eyes and the ears that are seen, in pixels of the picture."""
    left, right, nose = (point.astype(np.float64) for point in face.landmarks[:3])
    neck, ear_left, ear_right = transform(np.array([NECK, *EARS]), inverse(alignment(face.landmarks)))
    points = {"nose": nose, "neck": neck, "eye at the left": left, "eye at the right": right}
    if face.pose.yaw > -HIDDEN:
        points["ear at the left"] = ear_left
    if face.pose.yaw < HIDDEN:
        points["ear at the right"] = ear_right
    return points


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
