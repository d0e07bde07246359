"""Where the people of a group are: boxes, words, the colours of a layout picture, the faces of a template."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from facefact.faces.mask import face_mask
from facefact.generate.regions import feathered, grown
from facefact.types import Face, UserError

MASK_SIDE = 256  # of the mask that a box becomes
LAYOUT_SIDE = 512  # the longer side at which a layout picture is read
COLOUR_SHARE = 0.004  # of a layout picture: colours that cover less are the edges between others

Box = tuple[float, float, float, float]

ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
NOUN = "(?:person|man|woman|boy|girl|child|face|one)"
SIDE = "left|right|middle|centre|center"
SPOKEN = re.compile(
    rf"(?:the )?(?:(?P<which>leftmost|rightmost|last|{SIDE})(?: {NOUN})?|(?:{NOUN} )?(?:on|in) the (?P<where>{SIDE})"
    rf"|(?P<ordinal>{'|'.join(ORDINALS)}|[1-9][0-9]*(?:st|nd|rd|th))(?: {NOUN})?(?: from the (?P<end>left|right))?)"
)


def parse_box(text: str) -> Box:
    """x0, y0, x1, y1 in shares of the picture, from its upper left corner. UserError: it is none."""
    try:
        x0, y0, x1, y1 = (float(number) for number in text.split(","))
    except ValueError:
        x0 = y0 = x1 = y1 = -1.0
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise UserError(f"{text!r} is no box: left, top, right, bottom in shares of the picture, as 0.1,0.2,0.4,0.6")
    return x0, y0, x1, y1


def is_spoken(text: str) -> bool:
    """Whether words name a place, as "the woman on the left", "middle", "second from the right"."""
    return SPOKEN.fullmatch(_plain(text)) is not None


def check_spoken(text: str) -> None:
    """UserError: the words name no place."""
    if not is_spoken(text):
        raise UserError(
            f"{text!r} names no place: say left, middle or right, first, second ..., or second from the right; "
            '"the person on the left" is understood too'
        )


def spoken_place(text: str, count: int) -> int:
    """Which of `count` people, numbered from left to right from 0, the words name. UserError: none of them."""
    check_spoken(text)
    found = SPOKEN.fullmatch(_plain(text))
    assert found is not None
    word = found["which"] or found["where"]
    if word is None:
        said = found["ordinal"]
        number = ORDINALS.index(said) if said in ORDINALS else int(said[:-2]) - 1
        number = count - 1 - number if found["end"] == "right" else number
    elif word in ("middle", "centre", "center"):
        if count % 2 == 0:
            raise UserError(f"{text!r}: {count} people have nobody in the middle; say which, as second from the left")
        number = count // 2
    else:
        number = count - 1 if word in ("right", "rightmost", "last") else 0
    if not 0 <= number < count:
        raise UserError(f"{text!r}: there are only {count} people")
    return number


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def left_to_right(faces: Sequence[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.box[0] + face.box[2])


def box_mask(box: Box) -> Tensor:
    """(MASK_SIDE, MASK_SIDE) float, 1 inside the box; at its edges the share of a cell that is inside."""
    x0, y0, x1, y1 = box
    return _covered(y0, y1)[:, None] * _covered(x0, x1)[None]


def _covered(start: float, end: float) -> Tensor:
    """(MASK_SIDE,): how much of each cell of a line from 0 to 1 lies between start and end."""
    edges = torch.linspace(0, 1, MASK_SIDE + 1)
    inside = edges[1:].clamp(max=end) - edges[:-1].clamp(min=start)
    return (inside * MASK_SIDE).clamp(0, 1)


def column_masks(count: int) -> list[Tensor]:
    """Places of people who stand side by side, from left to right."""
    return [box_mask((i / count, 0.0, (i + 1) / count, 1.0)) for i in range(count)]


def layout_masks(picture: np.ndarray) -> list[Tensor]:
    """(h, w, 3) uint8, a colour for each person on black -> each one's mask, from left to right.

    Between colours, where an edge was smoothed, the nearest counts. UserError: it shows black alone.
    """
    factor = LAYOUT_SIDE / max(picture.shape[:2])
    if factor < 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    pixels = picture.reshape(-1, 3).astype(np.int64)
    codes, counts = np.unique(pixels @ (65536, 256, 1), return_counts=True)
    large = codes[counts >= COLOUR_SHARE * len(pixels)]
    colours = np.stack([large >> 16, large >> 8 & 255, large & 255], -1)
    people = [i for i, colour in enumerate(colours) if colour.max() >= 32]
    if not people:
        raise UserError("the layout picture shows no regions: one colour for each person, on black")
    distance = np.square(pixels[:, None] - colours[None]).sum(-1)
    owner = distance.argmin(1).reshape(picture.shape[:2])
    masks = [owner == i for i in people]
    masks.sort(key=lambda mask: float(mask.nonzero()[1].mean()))
    return [torch.from_numpy(mask.astype(np.float32)) for mask in masks]


def face_masks(
    faces: Sequence[Face], shape: tuple[int, ...], *, heads: Sequence[np.ndarray] | None = None
) -> list[Tensor]:
    """Each face's place in a picture of shape (h, w, ...): (h, w) float of 0 and 1. heads: (h, w) bool of each, where
    hair and hat are to be the person's too."""
    masks = []
    for i, face in enumerate(faces):
        inside = face_mask(shape, face) if heads is None else face_mask(shape, face) | heads[i]
        masks.append(torch.from_numpy(grown(inside, face.longer_side)))
    return masks


def nearest_masks(faces: Sequence[Face], shape: tuple[int, ...]) -> list[Tensor]:
    """What lies nearer to each face than to the others, in a picture of shape (h, w, ...): (h, w) float of 0 and 1,
    which sum to 1."""
    middles = np.array([[(face.box[1] + face.box[3]) / 2, (face.box[0] + face.box[2]) / 2] for face in faces])
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = [np.square(rows - y) + np.square(columns - x) for y, x in middles]
    owner = np.argmin(distance, axis=0)
    return [torch.from_numpy((owner == i).astype(np.float32)) for i in range(len(faces))]


def soft_edge(mask: Tensor, face: Face) -> np.ndarray:
    """(h, w) of 0 and 1 -> float32 from 0 to 1, feathered by the size of the face; exactly 0 from a little on."""
    return feathered(mask.numpy(), face.longer_side)
