"""The renderer: an avatar from a person and a look, as anti-aliased flat shapes (OpenCV), with its masks and landmarks.

Head coordinates: origin between eyes and nose, x to the right, y down, 1.0 = the picture's side. The head is an ellipsoid:
a feature at (x, y) on its front turns with the yaw to x cos + z sin, z the ellipsoid's depth there.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from facefact.world.factors import Look, Person

SUPERSAMPLING = 2
SUBPIXEL_BITS = 4
Colour = tuple[float, float, float]

HAIR_COLOURS: dict[str, Colour] = {
    "black": (38, 34, 38), "brown": (112, 70, 40), "blond": (232, 196, 104), "red": (196, 74, 30),
    "grey": (168, 168, 172), "blue": (60, 96, 200),
}  # fmt: skip
CLOTHES_COLOURS: dict[str, Colour] = {
    "red": (204, 44, 48), "blue": (44, 84, 190), "green": (46, 140, 70), "yellow": (240, 200, 50),
    "white": (240, 240, 238), "black": (44, 44, 50),
}  # fmt: skip
TINTS: dict[str, Colour] = {"day": (1.0, 1.0, 1.0), "warm": (1.06, 0.96, 0.80), "cool": (0.84, 0.95, 1.10)}


@dataclass(frozen=True)
class Rendering:
    """One portrait with its ground truth.

    image: (size, size, 3) uint8 RGB. face: (size, size) bool, face with ears and chin. head: face and hair without the hat.
    landmarks: (5, 2) float32 pixels: left eye, right eye, nose tip, left and right mouth corner, as seen in the picture.
    """

    image: np.ndarray
    face: np.ndarray
    head: np.ndarray
    landmarks: np.ndarray


def mix(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def ellipse(cx: float, cy: float, rx: float, ry: float, *, start: float = 0, stop: float = 360, n: int = 36) -> np.ndarray:
    """(n, 2) points of an elliptic arc; angles in degrees, clockwise as seen from the +x axis."""
    t = np.radians(np.linspace(start, stop, n))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], -1)


class Canvas:
    """Flat polygons on a supersampled picture; picture coordinates in [0, 1]."""

    def __init__(self, size: int):
        self.size = size
        self.pixels = np.zeros((size * SUPERSAMPLING, size * SUPERSAMPLING, 3), np.uint8)
        self.scale = size * SUPERSAMPLING * (1 << SUBPIXEL_BITS)

    def _points(self, points: np.ndarray) -> np.ndarray:
        return np.round(np.asarray(points) * self.scale).astype(np.int32)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        shade = tuple(float(min(255, max(0, c))) for c in colour)
        cv2.fillPoly(self.pixels, [self._points(points)], shade, cv2.LINE_AA, SUBPIXEL_BITS)

    def stroke(self, points: np.ndarray, colour: Colour, width: float, *, closed: bool = False) -> None:
        """width: share of the picture's side."""
        shade = tuple(float(min(255, max(0, c))) for c in colour)
        thickness = max(1, round(width * self.size * SUPERSAMPLING))
        cv2.polylines(self.pixels, [self._points(points)], closed, shade, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    def finish(self) -> np.ndarray:
        return cv2.resize(self.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)

    def mask(self, *shapes: np.ndarray) -> np.ndarray:
        """(size, size) bool: inside any of the shapes."""
        plane = np.zeros((self.size, self.size), np.uint8)
        for shape in shapes:
            points = np.round(np.asarray(shape) * self.size * (1 << SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(plane, [points], 1, cv2.LINE_8, SUBPIXEL_BITS)
        return plane.astype(bool)


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
        """(n, 2) head coordinates -> picture coordinates; `lift` raises the surface (the nose), `depth` 0 turns nothing."""
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


def skin_colour(who: Person) -> Colour:
    """Light to dark, rosy to olive."""
    tone = (who["skin_tone"] + 1) / 2
    stops: list[Colour] = [(253, 224, 204), (236, 188, 150), (192, 132, 92), (132, 84, 58), (82, 52, 40)]
    at = tone * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    r, g, b = mix(stops[low], stops[low + 1], at - low)
    hue = who["skin_hue"]
    return (r * (1 + 0.05 * hue), g * (1 - 0.05 * hue), b * (1 + 0.05 * hue))


def iris_colour(who: Person) -> Colour:
    """Around a wheel from brown over green to blue and violet."""
    at = (who["iris"] + 1) / 2
    r, g, b = colorsys.hsv_to_rgb(0.06 + 0.68 * at, 0.75, 0.45 + 0.35 * at)
    return (255 * r, 255 * g, 255 * b)


def draw_scene(canvas: Canvas, shown: Look) -> None:
    rng = np.random.default_rng((shown.variation, 3))
    box = lambda x0, y0, x1, y1: np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])  # noqa: E731
    sky: dict[str, Colour] = {
        "beach": (120, 200, 240), "forest": (150, 200, 150), "city": (190, 200, 215), "snow": (205, 225, 245),
        "night": (22, 26, 66), "studio": (176, 160, 178),
    }  # fmt: skip
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


def hair_shapes(head: Head, shown: Look) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The hair behind the face and the hair before it, as polygons in picture coordinates."""
    rx, ry, style = head.rx, head.ry, shown["hair"]
    flat = lambda points: head.place(points, depth=0.25)  # noqa: E731
    if style == "bald":
        return [], []
    fringe = np.concatenate([
        ellipse(0, -0.04, rx * 1.1, ry * 0.98, start=184, stop=356),
        np.array([[rx * 0.98, -0.02], [rx * 0.86, -0.12], [rx * 0.4, -0.175], [-rx * 0.3, -0.15], [-rx * 0.86, -0.11],
                  [-rx * 0.98, -0.02]]),
    ])  # fmt: skip
    front = [flat(fringe)]
    if style == "short":
        return [flat(ellipse(0, -0.05, rx * 1.13, ry * 0.98))], front
    if style == "long":
        curtain = np.concatenate([
            ellipse(0, -0.06, rx * 1.32, ry * 1.02, start=180, stop=360),
            np.array([[rx * 1.5, 0.34], [rx * 0.7, 0.37], [-rx * 0.7, 0.37], [-rx * 1.5, 0.34]]),
        ])  # fmt: skip
        return [flat(curtain)], front
    if style == "curly":
        angles = np.radians(np.arange(150, 400, 25))
        return [flat(ellipse(np.cos(a) * rx * 1.18, np.sin(a) * ry * 0.88 - 0.04, 0.085, 0.085, n=20)) for a in angles], [
            flat(ellipse(np.cos(a) * rx * 0.85, np.sin(a) * ry * 0.8 - 0.02, 0.06, 0.055, n=18))
            for a in np.radians(np.arange(195, 350, 22))
        ]
    if style == "bun":
        return [flat(ellipse(0, -ry * 1.2, 0.105, 0.09)), flat(ellipse(0, -0.05, rx * 1.08, ry * 0.99))], front
    spikes = []
    for a in np.radians(np.arange(188, 360, 19)):
        tip = np.array([np.cos(a) * rx * 1.42, np.sin(a) * ry * 1.3 - 0.03])
        left = np.array([np.cos(a - 0.24) * rx, np.sin(a - 0.24) * ry * 0.9])
        right = np.array([np.cos(a + 0.24) * rx, np.sin(a + 0.24) * ry * 0.9])
        spikes.append(flat(np.stack([left, tip, right])))
    return [*spikes, flat(ellipse(0, -0.05, rx * 1.08, ry * 0.97))], front


def ear_shapes(head: Head, who: Person) -> list[np.ndarray]:
    size = 0.042 * (1 + 0.4 * who["ear_size"])
    shapes = []
    for side in (-1, 1):
        hidden = max(0.0, side * float(np.sin(head.yaw))) * 0.09
        at = np.array([[side * (head.rx * 0.99 - hidden) + 0.04 * np.sin(head.yaw), 0.025]])
        shapes.append(head.place(ellipse(0, 0, size * 0.8, size * 1.25) + at, depth=0.0))
    return shapes


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


def draw_eyes(canvas: Canvas, head: Head, who: Person, shown: Look, at: Features, skin: Colour) -> None:
    opening = 0.64 + 0.2 * who["eye_opening"] + {"surprised": 0.22, "laughing": -0.16}.get(shown["expression"], 0.0)
    tilt = np.radians(13 * who["eye_tilt"])
    dark = mix(skin, (20, 10, 10), 0.75)
    for side in (-1, 1):
        shape = ellipse(0, 0, at.eye_size, at.eye_size * opening)
        turn = np.array([[np.cos(tilt), -side * np.sin(tilt)], [side * np.sin(tilt), np.cos(tilt)]])
        centre = np.array([side * at.eye_x, at.eye_y])
        rim = head.place(shape @ turn * 1.12 + centre)
        canvas.fill(rim, dark)
        canvas.fill(head.place(shape @ turn + centre), (250, 250, 250))
        radius = at.eye_size * min(0.66, opening)
        canvas.fill(head.place(ellipse(0, 0, radius, radius) + centre), iris_colour(who))
        canvas.fill(head.place(ellipse(0, 0, radius * 0.45, radius * 0.45, n=16) + centre), (16, 14, 16))
        canvas.fill(head.place(ellipse(-radius * 0.35, -radius * 0.35, radius * 0.25, radius * 0.25, n=12) + centre), (255,) * 3)


def draw_brows(canvas: Canvas, head: Head, who: Person, shown: Look, at: Features) -> None:
    colour = mix(HAIR_COLOURS[shown["hair_colour"]], (40, 28, 24), 0.55)
    mood = {"sad": -0.35, "surprised": 0.0, "neutral": 0.0, "smiling": 0.0, "laughing": -0.05}[shown["expression"]]
    raised = {"surprised": 0.026, "laughing": 0.008}.get(shown["expression"], 0.0)
    half, thick = 0.052, 0.0125 * (1 + 0.65 * who["brow_thickness"])
    y = at.eye_y - 0.074 - 0.018 * who["brow_height"] - raised
    slope = 0.28 * who["brow_tilt"] + mood
    for side in (-1, 1):
        t = np.linspace(-1, 1, 9)
        x = side * (at.eye_x + t * half)
        middle = y - t * half * slope - 0.010 * (1 - t**2)
        width = thick * (1.15 - 0.35 * (t + 1) / 2)
        upper, lower = np.stack([x, middle - width], -1), np.stack([x, middle + width], -1)[::-1]
        canvas.fill(head.place(np.concatenate([upper, lower])), colour)


def draw_nose(canvas: Canvas, head: Head, who: Person, at: Features, skin: Colour) -> None:
    width = 0.036 * (1 + 0.42 * who["nose_width"])
    shade, light = mix(skin, (60, 20, 10), 0.42), mix(skin, (255, 255, 255), 0.2)
    bridge = np.array([[-0.012, at.eye_y + 0.02], [0.012, at.eye_y + 0.02], [width, at.nose_y], [-width, at.nose_y]])
    canvas.fill(head.place(bridge, lift=0.03), mix(skin, (60, 20, 10), 0.15))
    canvas.fill(head.place(ellipse(0, at.nose_y, width, 0.023), lift=0.05), shade)
    canvas.fill(head.place(ellipse(0, at.nose_y - 0.007, width * 0.92, 0.020), lift=0.05), light)


def mouth_curve(shown: Look, width: float) -> tuple[np.ndarray, float]:
    """(n, 2) the line between the lips about the mouth's middle, and how far the mouth is open."""
    bend = {"smiling": 0.030, "laughing": 0.026, "sad": -0.030}.get(shown["expression"], 0.0)
    opened = {"laughing": 0.048, "surprised": 0.055}.get(shown["expression"], 0.0)
    t = np.linspace(-1, 1, 15)
    return np.stack([t * width, -bend * t**2 + bend * 0.4], -1), opened


def draw_mouth(canvas: Canvas, head: Head, who: Person, shown: Look, at: Features, skin: Colour) -> None:
    curve, opened = mouth_curve(shown, at.mouth_width)
    t = curve[:, 0] / at.mouth_width
    full = 0.017 * (1 + 0.6 * who["lip_fullness"])
    arc = np.sqrt(np.clip(1 - t**2, 0, 1))
    rosy: Colour = (200, 70, 80) if who["lip_colour"] < 0 else (150, 40, 90)
    lips = mix(mix(skin, (150, 60, 50), 0.45), rosy, min(1.0, abs(who["lip_colour"])) * 0.85)
    upper = curve + np.stack([0 * t, -full * 0.8 * arc - opened * 0.25 * arc + 0 * t], -1)
    lower = curve + np.stack([0 * t, full * 1.15 * arc + opened * arc], -1)
    centre = np.array([0, at.mouth_y])
    canvas.fill(head.place(np.concatenate([upper, lower[::-1]]) + centre, lift=0.01), lips)
    if opened:
        inner = np.concatenate([curve + np.stack([0 * t, -opened * 0.15 * arc], -1), (curve + np.stack([0 * t, opened * arc], -1))[::-1]])
        canvas.fill(head.place(inner * [0.86, 1] + centre, lift=0.01), (96, 24, 34))
        if shown["expression"] == "laughing":
            teeth = np.concatenate([curve, (curve + np.stack([0 * t, 0.018 * arc], -1))[::-1]])
            canvas.fill(head.place(teeth * [0.8, 1] + centre, lift=0.01), (250, 250, 246))
    else:
        canvas.stroke(head.place(curve + centre, lift=0.01), mix(lips, (30, 0, 0), 0.6), 0.008)


def draw_marks(canvas: Canvas, head: Head, who: Person, skin: Colour) -> None:
    """Freckles (none below 0) and a mole, whose place runs over the cheeks and the chin with the factor."""
    amount = who["freckles"]
    if amount > 0:
        spot = mix(skin, (120, 50, 20), 0.25 + 0.4 * amount)
        for x, y in ((-0.12, 0.07), (-0.09, 0.095), (-0.075, 0.06), (0.12, 0.07), (0.09, 0.095), (0.075, 0.06)):
            canvas.fill(head.place(ellipse(x, y, 0.009, 0.009, n=10)), spot)
    angle = np.pi * (0.5 + 0.85 * who["mole"])
    x, y = 0.115 * np.cos(angle), 0.125 + 0.07 * np.sin(angle)
    canvas.fill(head.place(ellipse(x, y, 0.014, 0.014, n=14)), mix(skin, (40, 20, 16), 0.8))


def draw_glasses(canvas: Canvas, head: Head, shown: Look, at: Features) -> None:
    if shown["glasses"] == "none":
        return
    radius, frame = 0.072, (30.0, 30.0, 36.0)
    for side in (-1, 1):
        if shown["glasses"] == "square":
            w, h = radius * 1.08, radius * 0.8
            lens = np.array([[-w, -h], [w, -h], [w, h], [-w, h]])
        else:
            lens = ellipse(0, 0, radius * 1.02, radius)
        rim = head.place(lens + [side * 0.09, at.eye_y + 0.004], lift=0.02)
        if shown["glasses"] == "sun":
            canvas.fill(rim, (24, 24, 30))
        colour: Colour = (170, 40, 40) if shown["glasses"] == "square" else frame
        canvas.stroke(rim, colour, 0.0125, closed=True)
    canvas.stroke(head.place(np.array([[-0.022, at.eye_y - 0.01], [0.022, at.eye_y - 0.01]]), lift=0.03), frame, 0.0125)


def hat_shapes(head: Head, shown: Look) -> list[tuple[np.ndarray, Colour]]:
    rx, ry, kind = head.rx, head.ry, shown["hat"]
    flat = lambda points: head.place(points, depth=0.25)  # noqa: E731
    dome = ellipse(0, -0.125, rx * 1.17, ry * 0.78, start=180, stop=360)
    if kind == "cap":
        brim = head.place(ellipse(0, -0.13, rx * 0.95, 0.042), lift=0.12)
        return [(flat(dome), (34, 50, 110)), (brim, (22, 34, 80))]
    if kind == "beanie":
        band = np.array([[-rx * 1.2, -0.185], [rx * 1.2, -0.185], [rx * 1.2, -0.105], [-rx * 1.2, -0.105]])
        return [(flat(dome), (176, 36, 66)), (flat(ellipse(0, -0.125 - ry * 0.78, 0.05, 0.045)), (240, 230, 230)),
                (flat(band), (206, 70, 96))]  # fmt: skip
    if kind == "straw":
        crown = np.array([[-rx * 0.95, -0.14], [-rx * 0.8, -0.33], [rx * 0.8, -0.33], [rx * 0.95, -0.14]])
        band = np.array([[-rx * 0.95, -0.14], [-rx * 0.89, -0.19], [rx * 0.89, -0.19], [rx * 0.95, -0.14]])
        return [(flat(ellipse(0, -0.135, rx * 1.7, 0.05)), (222, 190, 110)), (flat(crown), (236, 208, 132)),
                (flat(band), (120, 60, 40))]  # fmt: skip
    return []


def shade(image: np.ndarray, shown: Look) -> np.ndarray:
    """The light: a tint by name and a soft gradient from one side, unnamed."""
    rng = np.random.default_rng((shown.variation, 4))
    across, down = np.meshgrid(np.linspace(-1, 1, image.shape[1]), np.linspace(-1, 1, image.shape[0]))
    angle = rng.uniform(0, 2 * np.pi)
    gradient = 1 + rng.uniform(0.02, 0.10) * (np.cos(angle) * across + np.sin(angle) * down)
    lit = image.astype(np.float32) * np.float32(gradient)[..., None] * np.float32(TINTS[shown["light"]])
    return np.clip(lit + 0.5, 0, 255).astype(np.uint8)


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
            lock = np.array([[side * head.rx * 0.98, 0.0], [side * head.rx * 1.3, 0.0], [side * head.rx * 1.5, 0.34], [side * head.rx * 1.0, 0.37]])
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
    points = np.concatenate([
        head.place(np.array([[-at.eye_x, at.eye_y], [at.eye_x, at.eye_y]])),
        head.place(np.array([[0, at.nose_y]]), lift=0.05),
        head.place(curve[[0, -1]] + [0, at.mouth_y], lift=0.01),
    ])  # fmt: skip
    worn = canvas.mask(*(shape for shape, _ in hat))
    return Rendering(
        image=shade(canvas.finish(), shown),
        face=canvas.mask(outline, *ears),
        head=canvas.mask(outline, *ears, *behind, *before) & ~worn,
        landmarks=(points * size - 0.5).astype(np.float32),
    )
