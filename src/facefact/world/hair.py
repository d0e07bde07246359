"""Hair and hats: polygons around a head, in picture coordinates."""

from __future__ import annotations

import numpy as np

from facefact.world.canvas import Colour, ellipse
from facefact.world.factors import Look
from facefact.world.head import Head

HAIR_COLOURS: dict[str, Colour] = {
    "black": (38, 34, 38),
    "brown": (112, 70, 40),
    "blond": (232, 196, 104),
    "red": (196, 74, 30),
    "grey": (168, 168, 172),
    "blue": (60, 96, 200),
}


def hair_shapes(head: Head, shown: Look) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The hair behind the face and the hair before it, as polygons in picture coordinates."""
    rx, ry, style = head.rx, head.ry, shown["hair"]
    flat = lambda points: head.place(points, depth=0.25)  # noqa: E731
    if style == "bald":
        return [], []
    fringe = np.concatenate(
        [
            ellipse(0, -0.04, rx * 1.1, ry * 0.98, start=184, stop=356),
            np.array(
                [
                    [rx * 0.98, -0.02],
                    [rx * 0.86, -0.12],
                    [rx * 0.4, -0.175],
                    [-rx * 0.3, -0.15],
                    [-rx * 0.86, -0.11],
                    [-rx * 0.98, -0.02],
                ]
            ),
        ]
    )
    front = [flat(fringe)]
    if style == "short":
        return [flat(ellipse(0, -0.05, rx * 1.13, ry * 0.98))], front
    if style == "long":
        curtain = np.concatenate(
            [
                ellipse(0, -0.06, rx * 1.32, ry * 1.02, start=180, stop=360),
                np.array([[rx * 1.5, 0.34], [rx * 0.7, 0.37], [-rx * 0.7, 0.37], [-rx * 1.5, 0.34]]),
            ]
        )
        return [flat(curtain)], front
    if style == "curly":
        around, above = np.radians(np.arange(150, 400, 25)), np.radians(np.arange(195, 350, 22))
        large = [ellipse(np.cos(a) * rx * 1.18, np.sin(a) * ry * 0.88 - 0.04, 0.085, 0.085, n=20) for a in around]
        small = [ellipse(np.cos(a) * rx * 0.85, np.sin(a) * ry * 0.8 - 0.02, 0.06, 0.055, n=18) for a in above]
        return [flat(curl) for curl in large], [flat(curl) for curl in small]
    if style == "bun":
        return [flat(ellipse(0, -ry * 1.2, 0.105, 0.09)), flat(ellipse(0, -0.05, rx * 1.08, ry * 0.99))], front
    spikes = []
    for a in np.radians(np.arange(188, 360, 19)):
        tip = np.array([np.cos(a) * rx * 1.42, np.sin(a) * ry * 1.3 - 0.03])
        left = np.array([np.cos(a - 0.24) * rx, np.sin(a - 0.24) * ry * 0.9])
        right = np.array([np.cos(a + 0.24) * rx, np.sin(a + 0.24) * ry * 0.9])
        spikes.append(flat(np.stack([left, tip, right])))
    return [*spikes, flat(ellipse(0, -0.05, rx * 1.08, ry * 0.97))], front


def hat_shapes(head: Head, shown: Look) -> list[tuple[np.ndarray, Colour]]:
    rx, ry, kind = head.rx, head.ry, shown["hat"]
    flat = lambda points: head.place(points, depth=0.25)  # noqa: E731
    dome = ellipse(0, -0.125, rx * 1.17, ry * 0.78, start=180, stop=360)
    if kind == "cap":
        brim = head.place(ellipse(0, -0.13, rx * 0.95, 0.042), lift=0.12)
        return [(flat(dome), (34, 50, 110)), (brim, (22, 34, 80))]
    if kind == "beanie":
        band = np.array([[-rx * 1.2, -0.185], [rx * 1.2, -0.185], [rx * 1.2, -0.105], [-rx * 1.2, -0.105]])
        return [
            (flat(dome), (176, 36, 66)),
            (flat(ellipse(0, -0.125 - ry * 0.78, 0.05, 0.045)), (240, 230, 230)),
            (flat(band), (206, 70, 96)),
        ]
    if kind == "straw":
        crown = np.array([[-rx * 0.95, -0.14], [-rx * 0.8, -0.33], [rx * 0.8, -0.33], [rx * 0.95, -0.14]])
        band = np.array([[-rx * 0.95, -0.14], [-rx * 0.89, -0.19], [rx * 0.89, -0.19], [rx * 0.95, -0.14]])
        return [
            (flat(ellipse(0, -0.135, rx * 1.7, 0.05)), (222, 190, 110)),
            (flat(crown), (236, 208, 132)),
            (flat(band), (120, 60, 40)),
        ]
    return []
