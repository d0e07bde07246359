"""The renderer: an avatar from a person and a look, with its masks and landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facefact.world.canvas import Canvas, ellipse, mix
from facefact.world.face import (
    draw_brows,
    draw_eyes,
    draw_glasses,
    draw_marks,
    draw_mouth,
    draw_nose,
    skin_colour,
)
from facefact.world.factors import Look, Person
from facefact.world.hair import HAIR_COLOURS, hair_shapes, hat_shapes
from facefact.world.head import Head, ear_shapes, features, mouth_curve
from facefact.world.scene import draw_clothes, draw_scene, shade


@dataclass(frozen=True)
class Rendering:
    """One portrait with its ground truth.

    image: (size, size, 3) uint8 RGB. face: (size, size) bool, face with ears and chin. head: face and hair without the
    hat. landmarks: (5, 2) float32 pixels: left eye, right eye, nose tip, left and right mouth corner, as seen in the
    picture.
    """

    image: np.ndarray
    face: np.ndarray
    head: np.ndarray
    landmarks: np.ndarray


def render(who: Person, shown: Look, *, size: int = 128) -> Rendering:
    """The portrait of a person in a look. Deterministic: the same person, look and size give the same picture."""
    canvas, head, at = Canvas(size), Head(who, shown), features(who, shown)
    skin, hair = skin_colour(who), HAIR_COLOURS[shown["hair_colour"]]
    behind, before = hair_shapes(head, shown)
    ears, outline, hat = ear_shapes(head, who), head.outline(), hat_shapes(head, shown)
    draw_scene(canvas, shown)
    for shape in behind:
        canvas.fill(shape, mix(hair, (0, 0, 0), 0.18))
    draw_clothes(canvas, head, shown, skin)
    if shown["hair"] == "long":  # falls over the shoulders
        for side in (-1, 1):
            lock = np.array(
                [
                    [side * head.rx * 0.98, 0.0],
                    [side * head.rx * 1.3, 0.0],
                    [side * head.rx * 1.5, 0.34],
                    [side * head.rx * 1.0, 0.37],
                ]
            )
            behind.append(head.place(lock, depth=0.25))
            canvas.fill(behind[-1], mix(hair, (0, 0, 0), 0.08))
    for ear in ears:
        canvas.fill(ear, mix(skin, (120, 40, 20), 0.14))
    canvas.fill(outline, skin)
    for side in (-1, 1):  # cheeks
        canvas.fill(head.place(ellipse(side * 0.115, 0.085, 0.04, 0.03)), mix(skin, (230, 90, 90), 0.16))
    draw_nose(canvas, head, who, at, skin)
    draw_mouth(canvas, head, who, shown, at, skin)
    draw_eyes(canvas, head, who, shown, at, skin)
    draw_marks(canvas, head, who, skin)
    for shape in before if shown["hat"] == "none" else []:
        canvas.fill(shape, hair)
    draw_brows(canvas, head, who, shown, at)
    draw_glasses(canvas, head, shown, at)
    for shape, colour in hat:
        canvas.fill(shape, colour)
    curve, _ = mouth_curve(shown, at.mouth_width)
    points = np.concatenate(
        [
            head.place(np.array([[-at.eye_x, at.eye_y], [at.eye_x, at.eye_y]])),
            head.place(np.array([[0, at.nose_y]]), lift=0.05),
            head.place(curve[[0, -1]] + [0, at.mouth_y], lift=0.01),
        ]
    )
    worn = canvas.mask(*(shape for shape, _ in hat))
    return Rendering(
        image=shade(canvas.finish(), shown),
        face=canvas.mask(outline, *ears),
        head=canvas.mask(outline, *ears, *behind, *before) & ~worn,
        landmarks=(points * size - 0.5).astype(np.float32),
    )
