"""The face: skin, eyes, brows, nose, mouth, marks, and glasses before it."""

from __future__ import annotations

import colorsys

import numpy as np

from facefact.world.canvas import Canvas, Colour, ellipse, mix
from facefact.world.factors import Look, Person
from facefact.world.hair import HAIR_COLOURS
from facefact.world.head import Features, Head, mouth_curve


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
        canvas.fill(
            head.place(ellipse(-radius * 0.35, -radius * 0.35, radius * 0.25, radius * 0.25, n=12) + centre), (255,) * 3
        )


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
        inner = np.concatenate(
            [curve + np.stack([0 * t, -opened * 0.15 * arc], -1), (curve + np.stack([0 * t, opened * arc], -1))[::-1]]
        )
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
