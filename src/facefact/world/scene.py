"""What is behind and below the face: the scene, the clothes; and the light on all of it."""

from __future__ import annotations

import numpy as np

from facefact.world.canvas import Canvas, Colour, ellipse, mix
from facefact.world.factors import Look
from facefact.world.head import Head

CLOTHES_COLOURS: dict[str, Colour] = {
    "red": (204, 44, 48),
    "blue": (44, 84, 190),
    "green": (46, 140, 70),
    "yellow": (240, 200, 50),
    "white": (240, 240, 238),
    "black": (44, 44, 50),
}
TINTS: dict[str, Colour] = {"day": (1.0, 1.0, 1.0), "warm": (1.06, 0.96, 0.80), "cool": (0.84, 0.95, 1.10)}


def draw_scene(canvas: Canvas, shown: Look) -> None:
    rng = np.random.default_rng((shown.variation, 3))
    box = lambda x0, y0, x1, y1: np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])  # noqa: E731
    sky: dict[str, Colour] = {
        "beach": (120, 200, 240),
        "forest": (150, 200, 150),
        "city": (190, 200, 215),
        "snow": (205, 225, 245),
        "night": (22, 26, 66),
        "studio": (176, 160, 178),
    }
    scene = shown["scene"]
    canvas.fill(box(0, 0, 1, 1), sky[scene])
    horizon = 0.62 + rng.uniform(-0.04, 0.04)
    if scene == "beach":
        canvas.fill(box(0, horizon - 0.14, 1, horizon), (40, 130, 190))
        canvas.fill(box(0, horizon, 1, 1), (238, 214, 160))
        canvas.fill(ellipse(rng.choice([0.14, 0.86]), 0.15, 0.08, 0.08), (255, 236, 140))
    elif scene == "forest":
        canvas.fill(box(0, horizon + 0.1, 1, 1), (70, 110, 52))
        for x in (0.08, 0.9):
            x += rng.uniform(-0.03, 0.03)
            canvas.fill(box(x - 0.03, 0.3, x + 0.03, 0.8), (96, 66, 42))
            canvas.fill(np.array([[x - 0.2, 0.6], [x, 0.05], [x + 0.2, 0.6]]), (34, 96, 52))
    elif scene == "city":
        for x in (0.02, 0.2, 0.72, 0.88):
            top = rng.uniform(0.12, 0.34)
            canvas.fill(box(x - 0.02, top, x + 0.14, 1), (104, 108, 126))
            for row in np.arange(top + 0.05, 0.9, 0.13):
                canvas.fill(box(x + 0.02, row, x + 0.09, row + 0.06), (244, 220, 130))
    elif scene == "snow":
        peak = rng.uniform(0.08, 0.2)
        canvas.fill(np.array([[-0.2, 0.75], [peak, 0.22], [0.55, 0.75]]), (140, 160, 190))
        canvas.fill(np.array([[0.5, 0.75], [1 - peak, 0.3], [1.3, 0.75]]), (120, 142, 176))
        canvas.fill(box(0, horizon + 0.04, 1, 1), (246, 250, 255))
    elif scene == "night":
        canvas.fill(ellipse(rng.choice([0.13, 0.87]), 0.15, 0.075, 0.075), (250, 244, 200))
        for x, y in zip((0.06, 0.3, 0.7, 0.94, 0.08, 0.92), (0.4, 0.07, 0.06, 0.45, 0.66, 0.7), strict=True):
            canvas.fill(ellipse(x + rng.uniform(-0.03, 0.03), y, 0.012, 0.012, n=10), (255, 250, 220))
        canvas.fill(box(0, horizon + 0.16, 1, 1), (14, 18, 40))
    else:
        canvas.fill(ellipse(0.5, 0.45, 0.46, 0.46), (200, 186, 202))


def draw_clothes(canvas: Canvas, head: Head, shown: Look, skin: Colour) -> None:
    cx = 0.5 + 0.6 * (head.centre[0] - 0.5)
    colour = CLOTHES_COLOURS[shown["clothes_colour"]]
    dark, light = mix(colour, (0, 0, 0), 0.3), mix(colour, (255, 255, 255), 0.35)
    if shown["clothes"] == "hoodie":
        canvas.fill(ellipse(cx, 0.86, 0.27, 0.16), dark)
    neck = np.array([[cx - 0.085, 0.6], [cx + 0.085, 0.6], [cx + 0.095, 0.9], [cx - 0.095, 0.9]])
    canvas.fill(neck, mix(skin, (0, 0, 0), 0.16))
    body = np.concatenate([ellipse(cx, 1.08, 0.46, 0.26, start=180, stop=360), [[cx + 0.46, 1.1], [cx - 0.46, 1.1]]])
    canvas.fill(body, colour)
    if shown["clothes"] == "t-shirt":
        canvas.fill(ellipse(cx, 0.835, 0.12, 0.07), mix(skin, (0, 0, 0), 0.1))
    elif shown["clothes"] == "sweater":
        canvas.fill(np.array([[cx - 0.12, 0.775], [cx + 0.12, 0.775], [cx + 0.13, 0.87], [cx - 0.13, 0.87]]), light)
    elif shown["clothes"] == "suit":
        canvas.fill(np.array([[cx - 0.11, 0.81], [cx + 0.11, 0.81], [cx, 1.05]]), (250, 250, 250))
        tie: Colour = (150, 30, 40) if shown["clothes_colour"] != "red" else (40, 40, 90)
        canvas.fill(np.array([[cx - 0.028, 0.84], [cx + 0.028, 0.84], [cx + 0.036, 1.02], [cx - 0.036, 1.02]]), tie)
        for side in (-1, 1):
            lapel = [[cx + side * 0.1, 0.80], [cx + side * 0.19, 0.86], [cx + side * 0.02, 1.04]]
            canvas.fill(np.array(lapel), dark)
    else:
        canvas.fill(ellipse(cx, 0.84, 0.14, 0.06), dark)
        for side in (-1, 1):
            cord = np.array([[cx + side * 0.055, 0.87], [cx + side * 0.05, 1.0]])
            canvas.stroke(cord, (245, 245, 245) if sum(colour) < 600 else (60, 60, 60), 0.016)


def shade(image: np.ndarray, shown: Look) -> np.ndarray:
    """The light on an (h, w, 3) uint8 RGB picture: a tint by name and a soft gradient from one side, unnamed."""
    rng = np.random.default_rng((shown.variation, 4))
    across, down = np.meshgrid(np.linspace(-1, 1, image.shape[1]), np.linspace(-1, 1, image.shape[0]))
    angle = rng.uniform(0, 2 * np.pi)
    gradient = 1 + rng.uniform(0.02, 0.10) * (np.cos(angle) * across + np.sin(angle) * down)
    lit = (
        image.astype(np.float32) * gradient.astype(np.float32)[..., None] * np.array(TINTS[shown["light"]], np.float32)
    )
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8)
