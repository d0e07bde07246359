"""`facefact eval inpaint --photos FOLDER`: what of inpainting can be measured on real photos without a photo model.

In the place of what a model would paint stands the face of another photo, moved onto the template's landmarks: so
identity and expression are not measured, but everything about them is: the square, finding and moving, the soft edge,
what stays, and neck and ears in the new skin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facefact.evaluate.inpaint import CELL, pasted, placed, seam
from facefact.evaluate.pictures import Progress
from facefact.evaluate.sheet import write_rows
from facefact.faces import Detector, open_picture
from facefact.faces.align import similarity
from facefact.faces.choice import checked_face
from facefact.faces.files import pictures_below
from facefact.faces.square import seen_through
from facefact.generate import InpaintSettings
from facefact.generate.neck import MOUTH, Change, above, beside_skin, skin_under
from facefact.generate.pieces import Piece, laid_in
from facefact.generate.regions import grown, region_mask, softened
from facefact.generate.settling import middles, nearest_face, settled
from facefact.generate.skin_tone import cheek_colour, reach, skin_mask, to_lab
from facefact.generate.view import view_about
from facefact.metrics.scores import figure
from facefact.types import Face, UserError

SIZE = 512  # pixels of the square: that of SD1.5
FEWEST = 0.02  # of the face's pixels: less of a neck is none
WORST = 8  # rows of the sheet


@dataclass(frozen=True)
class Photo:
    """person: an index. picture: (h, w, 3) uint8. face: its largest."""

    person: int
    picture: np.ndarray
    face: Face


@dataclass(frozen=True)
class Made:
    """What a way made of a template. weight: (h, w), 0 where the picture is to be as it was. landmarks: (5, 2) of the
    new face, None where none is found."""

    picture: np.ndarray
    weight: np.ndarray
    landmarks: np.ndarray | None


def evaluate_photos(
    folder: Path,
    detector: Detector,
    *,
    people: int,
    templates: int,
    sheet: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The figures of the untouched photos ("template"), of a paste, of a face put in with the old neck ("swap") and as
    inpainting in place does it ("in_place"), with intervals over people.

    folder: a folder of photos for each person. people, templates: at most so many, photos of each. Into each photo the
    first face of the next person is put. sheet: a picture of the worst. UserError: fewer than two people with a face.
    """
    photos, looked = usable_photos(folder, detector, people=people, templates=templates)
    firsts = {photo.person: photo for photo in reversed(photos)}
    if len(firsts) < 2:
        raise UserError(f"{folder}: two people with a usable face are needed, each in a folder; {len(firsts)} found")
    order = sorted(firsts)
    rows: list[dict[str, dict[str, float]]] = []
    shown: list[list[np.ndarray]] = []
    for number, photo in enumerate(photos, 1):
        other = firsts[order[(order.index(photo.person) + 1) % len(order)]]
        made = all_ways(photo, other, detector)
        neck = neck_of(photo.picture, photo.face)
        rows.append({name: measured(photo, one, neck) for name, one in made.items()} | {"square": square_error(photo)})
        view = view_about(photo.face, photo.picture.shape, CELL, context=InpaintSettings.context)
        shown.append([_cell(other), *(view.look(one.picture) for one in made.values())])
        if progress:
            progress("photos", number, len(photos))
    if sheet is not None:
        worst = sorted(range(len(rows)), key=lambda i: _badness(rows[i]["in_place"]), reverse=True)[:WORST]
        write_rows(
            sheet, ["person", *(name for name in rows[0] if name != "square")], [shown[i] for i in worst], cell=CELL
        )
    own = np.array([photo.person for photo in photos])
    counts = {"people": len(firsts), "photos": looked, "usable": len(photos)}
    return counts | {name: _figures([row[name] for row in rows], own) for name in rows[0]}


def usable_photos(folder: Path, detector: Detector, *, people: int, templates: int) -> tuple[list[Photo], int]:
    """Photos whose largest face can be replaced, and how many were looked at."""
    paths: dict[Path, list[Path]] = {}
    for path in pictures_below(folder):
        paths.setdefault(path.parent, []).append(path)
    found, looked = [], 0
    for person, own in enumerate(list(paths.values())[:people]):
        for path in own[:templates]:
            looked += 1
            try:
                picture = open_picture(path)
                found.append(Photo(person, picture, checked_face(detector.detect(picture))))
            except UserError:
                continue  # counted: looked at, not usable
    return found, looked


def all_ways(photo: Photo, other: Photo, detector: Detector) -> dict[str, Made]:
    """By name; the untouched photo first."""
    old, face = photo.picture, photo.face
    none = np.zeros(old.shape[:2], np.float32)
    paste = pasted(old, face, other.picture, other.face.landmarks)
    piece, points = put_in(photo, other, detector)
    swap = laid_in(old, [piece])
    change = Change(old, swap, [face], [points])
    skin = skin_under(change)
    over = beside_skin(change, [piece], skin, new_heads=False, detector=detector)
    in_place = laid_in(laid_in(old, skin), over)
    return {
        "template": Made(old, none, face.landmarks),
        "paste": _made(laid_in(old, [paste]), [paste], face, detector),
        "swap": _made(swap, [piece], face, detector),
        "in_place": _made(in_place, [*skin, *over], face, detector),
    }


def put_in(photo: Photo, other: Photo, detector: Detector) -> tuple[Piece, np.ndarray]:
    """The other face in the square about the photo's, found and moved as a painted one is; its (5, 2) landmarks."""
    view = view_about(photo.face, photo.picture.shape, SIZE, context=InpaintSettings.context)
    wanted = view.points(photo.face.landmarks)
    matrix = similarity(middles(other.face.landmarks), middles(wanted))
    drawn = seen_through(other.picture, matrix, (SIZE, SIZE), how=cv2.INTER_CUBIC)
    weight = softened(region_mask(photo.face, photo.picture), photo.face.longer_side)
    mask = np.clip(view.look_at_mask(weight), 0, 1)[..., None]
    drawn, points = settled(drawn, wanted, detector, behind=view.look(photo.picture), mask=mask)
    return Piece(view.window, view.back(drawn), weight[view.part]), view.to_picture(points)


def _made(picture: np.ndarray, pieces: Sequence[Piece], face: Face, detector: Detector) -> Made:
    weight = np.zeros(picture.shape[:2], np.float32)
    for piece in pieces:
        weight[piece.part] = np.maximum(weight[piece.part], piece.weight)
    near = nearest_face(picture, face.landmarks, detector)
    return Made(picture, weight, None if near is None else near.landmarks)


def neck_of(picture: np.ndarray, face: Face) -> np.ndarray:
    """(h, w) bool: skin outside the face that is as its cheeks are and lies below the mouth."""
    window = reach(face, picture.shape)
    x0, y0, x1, y1 = window
    neck = np.zeros(picture.shape[:2], bool)
    neck[y0:y1, x0:x1] = skin_mask(picture, face, window) > 0.5
    neck &= ~above(picture.shape, face.landmarks, MOUTH)
    inside = region_mask(face, picture)
    neck &= grown(inside, face.longer_side) == 0
    return neck if neck.sum() >= FEWEST * inside.sum() else np.zeros_like(neck)


def measured(photo: Photo, made: Made, neck: np.ndarray) -> dict[str, float]:
    """By name; NaN where nothing can be said. outside_change: the greatest of all pixels without weight."""
    kept = made.weight == 0
    change = np.abs(made.picture.astype(int) - photo.picture).max(2)
    cheeks = None if made.landmarks is None else cheek_colour(made.picture, made.landmarks)
    skin = float("nan")
    if cheeks is not None and neck.any():
        skin = float(np.linalg.norm(np.median(to_lab(made.picture)[neck], axis=0) - cheeks))
    return {
        "placed": float(made.landmarks is not None and placed(made.landmarks, photo.face.landmarks)),
        "seam": seam(photo.picture, made.picture),
        "outside_change": float(change[kept].max()) if kept.any() else float("nan"),
        "skin_difference": skin,
    }


def square_error(photo: Photo) -> dict[str, float]:
    """What the square alone costs: the mean change (0..255) of a face that goes to the model's size and back."""
    view = view_about(photo.face, photo.picture.shape, SIZE, context=InpaintSettings.context)
    back = view.back(view.look(photo.picture)).astype(int)
    inside = region_mask(photo.face, photo.picture)[view.part]
    return {"error": float(np.abs(back - photo.picture[view.part])[inside].mean())}


def _badness(one: Mapping[str, float]) -> float:
    return 1000 * (1 - one["placed"]) + np.nan_to_num(one["skin_difference"]) + 10 * np.nan_to_num(one["seam"])


def _cell(photo: Photo) -> np.ndarray:
    return view_about(photo.face, photo.picture.shape, CELL, context=InpaintSettings.context).look(photo.picture)


def _figures(rows: Sequence[Mapping[str, float]], own: np.ndarray) -> dict[str, Any]:
    samples = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: figure(values, own).as_json() for name, values in samples.items() if not np.isnan(values).all()}
