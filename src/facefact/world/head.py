"""The geometry of a head: an ellipsoid on which the features sit, turned and placed into the picture.

Head coordinates: origin between eyes and nose, x to the right, y down, 1.0 = the picture's side. A feature at (x, y) on
the front turns with the yaw to x cos + z sin, z the ellipsoid's depth there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.world.canvas import ellipse
from facefact.world.factors import Look, Person


class Head:
    """The geometry of a person's head in a look: places features on the turned ellipsoid and into the picture."""

    def __init__(self, who: Person, shown: Look):
        self.rx = 0.195 * (1 + 0.17 * who["face_width"])
        self.ry = 0.262 * (1 + 0.11 * who["face_height"])
        self.jaw = 0.80 + 0.17 * who["jaw"]
        self.chin = who["chin"]
        self.yaw, self.roll = np.radians(shown.yaw), np.radians(shown.roll)
        self.centre = np.array([0.5 + shown.shift[0], 0.475 + shown.shift[1]])
        self.zoom = shown.zoom

    def place(self, points: np.ndarray, lift: float = 0.0, depth: float = 1.0) -> np.ndarray:
        """(n, 2) head coordinates -> picture coordinates. `lift` raises the surface (nose), `depth` 0 turns nothing."""
        points = np.atleast_2d(np.asarray(points, float))
        x, y = points[:, 0], points[:, 1]
        inside = np.clip(1 - (x / (self.rx * 1.05)) ** 2 - (y / (self.ry * 1.15)) ** 2, 0, 1)
        z = (0.17 * np.sqrt(inside) + lift) * depth
        turned = np.stack([x * np.cos(self.yaw * depth) + z * np.sin(self.yaw), y], -1)
        c, s = np.cos(self.roll), np.sin(self.roll)
        return self.centre + self.zoom * turned @ np.array([[c, s], [-s, c]])

    def outline(self, grow: float = 0.0) -> np.ndarray:
        """The face's contour: round above, jaw and chin below; the same for every yaw but for a small shift."""
        t = np.radians(np.arange(0, 360, 6))
        x, y = np.cos(t), np.sin(t)
        below = np.clip(y, 0, 1)
        width = 1 - (1 - self.jaw) * below**1.2
        pointed = 1 - 0.10 * (1 + self.chin) * below**6 * np.abs(x)
        height = np.where(y > 0, 1 + 0.10 * self.chin * below**2, 1.0)
        square = np.sign(x) * np.abs(x) ** (0.85 - 0.12 * self.chin * below)
        shape = np.stack([square * width * pointed * (self.rx + grow), y * height * (self.ry + grow)], -1)
        shape[:, 0] += 0.25 * 0.17 * np.sin(self.yaw)
        return self.place(shape, depth=0.0)


@dataclass(frozen=True)
class Features:
    """Where the features of the face sit, in head coordinates."""

    eye_x: float
    eye_y: float
    eye_size: float
    nose_y: float
    mouth_y: float
    mouth_width: float


def features(who: Person, shown: Look) -> Features:
    wide = {"smiling": 1.22, "laughing": 1.25, "sad": 0.95, "surprised": 0.62}.get(shown["expression"], 1.0)
    return Features(
        eye_x=0.088 * (1 + 0.2 * who["eye_spacing"]),
        eye_y=-0.02,
        eye_size=0.043 * (1 + 0.25 * who["eye_size"]),
        nose_y=0.078 + 0.03 * who["nose_length"],
        mouth_y=0.16 + 0.012 * who["nose_length"],
        mouth_width=0.066 * (1 + 0.26 * who["mouth_width"]) * wide,
    )


def ear_shapes(head: Head, who: Person) -> list[np.ndarray]:
    size = 0.042 * (1 + 0.4 * who["ear_size"])
    shapes = []
    for side in (-1, 1):
        hidden = max(0.0, side * float(np.sin(head.yaw))) * 0.09
        at = np.array([[side * (head.rx * 0.99 - hidden) + 0.04 * np.sin(head.yaw), 0.025]])
        shapes.append(head.place(ellipse(0, 0, size * 0.8, size * 1.25) + at, depth=0.0))
    return shapes


def mouth_curve(shown: Look, width: float) -> tuple[np.ndarray, float]:
    """(n, 2) the line between the lips about the mouth's middle, and how far the mouth is open."""
    bend = {"smiling": 0.030, "laughing": 0.026, "sad": -0.030}.get(shown["expression"], 0.0)
    opened = {"laughing": 0.048, "surprised": 0.055}.get(shown["expression"], 0.0)
    t = np.linspace(-1, 1, 15)
    return np.stack([t * width, -bend * t**2 + bend * 0.4], -1), opened
