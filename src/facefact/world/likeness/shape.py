"""The shape of a face, as numbers that do not change with the size of the photo, and less than it does with the pose.

Each measure is named after the identity factor of the world that it is for. What bends them without being the person
(turn of the head, open mouth, smile) is measured beside them, as `Bend`s; `calibration` takes its part out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.faces import pose_from_landmarks
from facefact.world.likeness.sight import MIDDLE, PAIRS, RIGID, Sight

BENDS = ("yaw", "yaw_squared", "pitch", "open_mouth", "smile")
LARGEST_YAW = 45.0  # degrees: what a turn of the head does to the measures is not followed beyond


@dataclass(frozen=True)
class Shape:
    """measures: by factor, logarithms of ratios (slopes for the tilts). bends: (len(BENDS),): |yaw| in degrees, its
    square over 30, pitch in degrees, height of the open mouth and of its corners in units of the face's size."""

    measures: dict[str, float]
    bends: np.ndarray


def shape_of(sight: Sight) -> Shape:
    """From the mesh where there is one, else from the five points and the box: fewer measures."""
    return _of_five(sight) if sight.mesh is None else _of_mesh(sight.mesh)


def frontal(mesh: np.ndarray) -> tuple[np.ndarray, float, float]:
    """(478, 3) points -> the same seen from the front, made symmetric, with the origin between the eyes; and how the
    head was turned: yaw and pitch in degrees.

    The head's own axes: x along the mean of all lines from a point to its mirror image, y along the nose.
    """
    across = (mesh[RIGID[:, 1]] - mesh[RIGID[:, 0]]).mean(0)
    across /= np.linalg.norm(across)
    down = mesh[2] - mesh[168]
    down -= across * (across @ down)
    down /= np.linalg.norm(down)
    ahead = np.cross(across, down)
    seen = (mesh - mesh[[33, 133, 263, 362]].mean(0)) @ np.stack([across, down, ahead]).T
    left, right = PAIRS.T
    half = (seen[right] + seen[left] * [-1, 1, 1]) / 2
    seen[right], seen[left] = half, half * [-1, 1, 1]
    seen[MIDDLE, 0] = 0
    yaw, pitch = np.degrees(np.arctan2(ahead[:2], ahead[2]))
    return seen, float(yaw), float(pitch)


def _of_mesh(mesh: np.ndarray) -> Shape:
    seen, yaw, pitch = frontal(mesh)
    x, y = seen[:, 0], seen[:, 1]
    apart = lambda a, b: float(np.linalg.norm(seen[a, :2] - seen[b, :2]))  # noqa: E731
    width, height, eyes = x[454], y[152], (x[263] + x[362]) / 2
    eye, eye_y, size = apart(263, 362), (y[263] + y[362]) / 2, np.sqrt(x[454] * y[152])
    brow = (apart(334, 282) + apart(293, 283) + apart(296, 295)) / 3
    ratios = {
        "face_width": width / height,
        "face_height": height / eyes,
        "jaw": (x[365] + x[379] + x[378]) / width,
        "chin": (height - y[17]) / eyes,
        "eye_spacing": eyes / height,
        "eye_size": eye / height,
        "eye_opening": apart(386, 374) / eye,
        "brow_thickness": brow / height,
        "brow_height": (eye_y - (y[334] + y[282]) / 2) / height,
        "nose_length": y[2] / eyes,
        "nose_width": x[358] / height,
        "mouth_width": x[291] / height,
        "lip_fullness": (apart(0, 13) + apart(14, 17)) / width,
    }
    measures = {name: float(np.log(max(ratio, 1e-3))) for name, ratio in ratios.items()}
    measures["eye_tilt"] = float((y[362] - y[263]) / eye)
    measures["brow_tilt"] = float((y[336] + y[285] - y[300] - y[276]) / 2 / eye)
    smile = (y[13] + y[14]) / 2 - y[291]
    return Shape(measures, _bends(yaw, pitch, apart(13, 14) / size, smile / size))


def _of_five(sight: Sight) -> Shape:
    pose, five = pose_from_landmarks(sight.five), sight.five
    eyes, mouth = five[:2].mean(0), five[3:].mean(0)
    height = float(np.linalg.norm(mouth - eyes))
    apart = float(np.linalg.norm(five[1] - five[0]))
    down = (mouth - eyes) / height
    ratios = {
        "face_width": sight.box[0] / sight.box[1],
        "face_height": sight.box[1] / apart,
        "eye_spacing": apart / height,
        "nose_length": float((five[2] - eyes) @ down) / height,
        "mouth_width": float(np.linalg.norm(five[4] - five[3])) / height,
    }
    measures = {name: float(np.log(max(ratio, 1e-3))) for name, ratio in ratios.items()}
    return Shape(measures, _bends(pose.yaw, pose.pitch, 0.0, 0.0))


def _bends(yaw: float, pitch: float, opened: float, smile: float) -> np.ndarray:
    yaw = min(abs(yaw), LARGEST_YAW)
    return np.array([yaw, yaw**2 / 30, float(np.clip(pitch, -LARGEST_YAW, LARGEST_YAW)), opened, smile])
