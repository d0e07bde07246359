"""The detector for the avatars of the embedded world: a small network whose weights are in the bundle.

The network itself is in `avatar_net` (the only module here that needs torch; imported when a detector is made).
Training and detection share `letterbox`, `net_input` and the pixel <-> fraction maps below, so that
they cannot drift apart.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from facefact.faces.align import TEMPLATE, alignment, transform
from facefact.faces.closer import Found, Tile, look_closer
from facefact.faces.detector import largest_first, overlapping_removed
from facefact.faces.pose import pose_from_landmarks
from facefact.faces.turned import any_way_up, face_turned, turned, way_up
from facefact.types import Face, UserError

if TYPE_CHECKING:
    import torch

    from facefact.faces.avatar_net import AvatarNet

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
PADDING = 127  # grey beside a picture that is not square
# Below this probability it is no avatar, and the detectors made for photos get their turn. Of 180 photos 16 % pass 0.9
# and 2 % pass 0.99; of 80 renders all pass both.
PRESENCE = 0.99
# How sure it is that an avatar is upright (`upright_surety`): below UPRIGHT other ways up are looked at, from TURNED on
# a picture that was turned is believed to show one. Of 100 renders 90 pass UPRIGHT and 98 TURNED; of the
# same lying or upside down 1 in 300 and 1 in 60, though most pass PRESENCE. The surest of the four ways up was the
# right one for all 100.
UPRIGHT, TURNED = 5.6, 5.05
CROOKED = 0.4  # of log-odds, for each pixel by which the landmarks miss the template's
SAME_POINT = 1.0  # pixels by which landmarks may differ that were turned there and back
WINDOW_STEP = 0.5  # a long picture may hold several avatars: square windows, half overlapping
LONG = 1.4  # a picture is long from this ratio of its sides on
MAX_WINDOWS = 16
SHARE = 0.57  # the face's box in a picture of one avatar, in sides of the picture
SMALLEST = 0.1  # of a view's side: smaller regions are looked at in smaller views
ROUNDS = 2  # each moves the view to where the one before saw the middle of the face
# Of the face's box and the region that looks like a face: the distance of their middles in units of the box, their
# overlap, and the share of the landmarks on the region. Between two people box and region have little in common.
APART, AGREEING, ON_FACE = 0.25, 0.2, 0.6


@dataclass(frozen=True)
class Letterbox:
    """How a picture lies in a size x size square: scaled by `scale` (x, y), then moved by `offset` (x, y) pixels."""

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: int

    def to_fractions(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) picture pixels (centres at integers) -> fractions of the square, as the network speaks."""
        return ((np.asarray(points) + 0.5) * np.array(self.scale) + self.offset) / self.size

    def to_pixels(self, fractions: np.ndarray) -> np.ndarray:
        """The inverse of `to_fractions`: (..., 2) -> (..., 2)."""
        return (np.asarray(fractions) * self.size - np.array(self.offset)) / self.scale - 0.5


def letterbox(picture: np.ndarray, size: int, *, padding: int = PADDING) -> tuple[np.ndarray, Letterbox]:
    """(h, w, 3) uint8 -> (size, size, 3) uint8 with the whole picture in its middle, grey around it."""
    h, w = picture.shape[:2]
    scale = size / max(h, w)
    new_h, new_w = max(1, round(h * scale)), max(1, round(w * scale))
    y, x = (size - new_h) // 2, (size - new_w) // 2
    square = np.full((size, size, 3), padding, np.uint8)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square[y : y + new_h, x : x + new_w] = cv2.resize(picture, (new_w, new_h), interpolation=how)
    return square, Letterbox((new_w / w, new_h / h), (x, y), size)


def net_input(squares: list[np.ndarray]) -> torch.Tensor:
    """n (size, size, 3) uint8 squares -> (n, 3, size, size) float in [-1, 1]."""
    import torch

    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float()
    return pixels / 127.5 - 1.0


def net_maps(mask: np.ndarray, size: int) -> np.ndarray:
    """(h, w) bool mask of a picture -> (size / 4, size / 4) float in [0, 1], letterboxed: the network's target."""
    picture = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    square, _ = letterbox(picture, size, padding=0)
    return cv2.resize(square[..., 0], (size // 4, size // 4), interpolation=cv2.INTER_AREA) / 255.0


def windows(height: int, width: int) -> list[Tile]:
    """x0, y0, x1, y1 of the parts to look at: the whole picture or, if it is long, overlapping squares along it."""
    side, length = min(height, width), max(height, width)
    if length < LONG * side:
        return [(0, 0, width, height)]
    count = min(MAX_WINDOWS, int(np.ceil((length - side) / (side * WINDOW_STEP))) + 1)
    starts = np.linspace(0, length - side, count).round().astype(int)
    if width > height:
        return [(int(s), 0, int(s) + side, side) for s in starts]
    return [(0, int(s), side, int(s) + side) for s in starts]


@dataclass(frozen=True)
class Answer:
    """The network's word on one part (x0, y0, x1, y1) of a picture, and how it lay in the network's square."""

    said: dict[str, np.ndarray]
    score: float
    part: Tile
    placed: Letterbox

    def to_picture(self, fractions: np.ndarray) -> np.ndarray:
        """(..., 2) fractions of the network's square -> pixels of the picture."""
        return self.placed.to_pixels(fractions) + self.part[:2]

    @property
    def box(self) -> np.ndarray:
        """(2, 2) in pixels of the picture."""
        return self.to_picture(self.said["box"].reshape(2, 2))

    def ovals(self) -> list[np.ndarray]:
        """(2, 2) boxes of the regions that look like faces, the largest first, in pixels of the picture.

        The map says of every cell by itself what it shows: several faces are several regions, and between two people
        there is none."""
        cells = len(self.said["oval"])
        _, _, stats, _ = cv2.connectedComponentsWithStats((self.said["oval"] > 0).astype(np.uint8), connectivity=4)
        boxes = [(area, np.array([[x, y], [x + w, y + h]]) / cells) for x, y, w, h, area in stats[1:]]
        return [self.to_picture(box) for _, box in sorted(boxes, key=lambda one: -one[0])]

    def agrees(self) -> bool:
        """Whether box and landmarks, which the network says of the picture as a whole, lie on what it sees as a
        face: of two people it says one box between them."""
        ovals = self.ovals()
        if not ovals:
            return False
        apart = np.linalg.norm(ovals[0].mean(0) - self.box.mean(0)) / np.ptp(self.box, axis=0).max()
        points = np.clip((self.said["landmarks"] * len(self.said["oval"])).astype(int), 0, len(self.said["oval"]) - 1)
        on_face = (self.said["oval"][points[:, 1], points[:, 0]] > 0).mean()
        return bool(apart < APART and on_face >= ON_FACE and _overlap(ovals[0], self.box) > AGREEING)


class AvatarDetector:
    """Avatars in pictures and groups; the head mask is the network's own map.

    The network knows one avatar in a square. A picture with one is looked at once. Elsewhere the map of what looks like
    a face says where to look again, from near and with the face in the middle (see `Answer.ovals`)."""

    name = "avatar"
    licence = "Apache-2.0 (trained by this project on its own rendered world)"

    def __init__(self, net: AvatarNet, *, presence: float = PRESENCE) -> None:
        self.net = net.eval()
        self.presence = presence

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, presence: float = PRESENCE) -> AvatarDetector:
        """Read `config.json` and `model.safetensors` (strictly) of one directory. UserError if they do not fit."""
        from safetensors.torch import load_file

        from facefact.faces.avatar_net import AvatarNet, AvatarNetConfig

        directory = Path(directory)
        try:
            fields = json.loads((directory / CONFIG).read_text())
            fields["widths"] = tuple(fields["widths"])
            net = AvatarNet(AvatarNetConfig(**fields))
            state = load_file(directory / WEIGHTS)
            net.load_state_dict({key: value.float() for key, value in state.items()})
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{directory} holds no usable avatar detector ({CONFIG}, {WEIGHTS}): {reason}") from error
        return cls(net, presence=presence)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Avatars of an (h, w, 3) uint8 RGB picture, largest first, whichever way up it is."""
        return any_way_up(picture, self.detect_upright, sure=UPRIGHT, clearly=0.0, surety=upright_surety)

    def detect_upright(self, picture: np.ndarray) -> list[Face]:
        """As `detect`, of a picture that is the right way up: a quarter of the time where there is none."""
        return [face for face, _ in self._faces_and_answers(picture)]

    def detect_large(self, picture: np.ndarray) -> list[Face]:
        """As `detect`, and none where no square window of the picture (see `windows`) shows one that fills it: which
        costs little in pictures without avatars."""
        for turn in range(4):
            view = turned(picture, turn)
            faces = [_face(one) for one in self._ask(view, windows(*view.shape[:2])) if self._is_face(one)]
            if any(turn == 0 or upright_surety(face) >= TURNED for face in faces):
                return self.detect(picture)
        return []

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the head with hair of one face that `detect` returned for this picture (else ValueError)."""
        for turn in dict.fromkeys((way_up(face), 0, 1, 2, 3)):
            mask = self._mask_in(turned(picture, turn), face_turned(face, picture.shape, turn))
            if mask is not None:
                return turned(mask, -turn)
        raise ValueError("the face is not from this picture")

    def _mask_in(self, picture: np.ndarray, face: Face) -> np.ndarray | None:
        """(h, w) bool, of an upright face; None where it is not seen in this picture."""
        for found, answer in self._faces_and_answers(picture):
            if np.abs(found.landmarks - face.landmarks).max() < SAME_POINT:
                x0, y0, x1, y1 = answer.part
                mask = np.zeros(picture.shape[:2], bool)
                mask[y0:y1, x0:x1] = _to_part(answer.said["head"], answer.part, answer.placed) > 0
                return mask
        return None

    def _faces_and_answers(self, picture: np.ndarray) -> list[tuple[Face, Answer]]:
        height, width = picture.shape[:2]
        if max(height, width) < LONG * min(height, width):
            (alone,) = self._ask(picture, [(0, 0, width, height)])
            if self._is_face(alone):
                return [(_face(alone), alone)]
        found = look_closer(picture.shape, lambda tile: self._look(picture, tile))
        near = [_about(one.box, picture.shape) for one in found]
        answers = [answer for answer in self._ask(picture, near) if self._is_face(answer)]
        faces = [_face(answer) for answer in answers]
        kept = largest_first(overlapping_removed(faces))
        return [(face, answer) for face in kept for one, answer in zip(faces, answers, strict=True) if one is face]

    def _look(self, picture: np.ndarray, tile: Tile) -> list[Found]:
        """The avatars of which a tile of an (h, w, 3) uint8 RGB picture shows the face or a part of it."""
        (whole,) = self._ask(picture, [tile])
        smallest = SMALLEST * max(tile[2] - tile[0], tile[3] - tile[1])
        boxes = [box for box in whole.ovals() if np.ptp(box, axis=0).max() > smallest]
        for _ in range(ROUNDS):
            near = self._ask(picture, [_about(box, picture.shape) for box in boxes])
            boxes = [_middle_most(answer.ovals(), box) for answer, box in zip(near, boxes, strict=True)]
        answers = self._ask(picture, [_about(box, picture.shape) for box in boxes])
        return [Found(answer.box, answer.score) for answer in answers if self._is_face(answer)]

    def _is_face(self, answer: Answer) -> bool:
        return answer.score >= self.presence and answer.agrees()

    def _ask(self, picture: np.ndarray, parts: list[Tile]) -> list[Answer]:
        """What the network says of parts (x0, y0, x1, y1) of an (h, w, 3) uint8 RGB picture."""
        import torch

        if not parts:
            return []
        boxed = [letterbox(picture[y0:y1, x0:x1], self.net.config.size) for x0, y0, x1, y1 in parts]
        device = next(self.net.parameters()).device
        with torch.inference_mode():
            output = self.net(net_input([square for square, _ in boxed]).to(device))
        said: dict[str, Any] = {key: value.cpu().numpy() for key, value in vars(output).items()}
        scores = 1 / (1 + np.exp(-said["presence"].astype(np.float64)))
        return [
            Answer({key: value[i] for key, value in said.items()}, float(scores[i]), parts[i], boxed[i][1])
            for i in range(len(parts))
        ]


def upright_surety(face: Face) -> float:
    """Log-odds of its presence, less for landmarks that are unlike those of an upright face: shown a lying one, the
    network is nearly as sure, and puts them all over the head."""
    try:
        off = np.linalg.norm(transform(face.landmarks, alignment(face.landmarks)) - TEMPLATE, axis=1).mean()
    except UserError:  # all in one place
        return -np.inf
    score = min(face.score, 1 - 1e-9)
    return float(np.log(score / (1 - score)) - CROOKED * off)


def _face(answer: Answer) -> Face:
    """In pixels of the picture."""
    box, landmarks = answer.box, answer.to_picture(answer.said["landmarks"]).astype(np.float32)
    oval = _outline(_to_part(answer.said["oval"], answer.part, answer.placed))
    return Face(
        box=(float(box[0, 0]), float(box[0, 1]), float(box[1, 0]), float(box[1, 1])),
        landmarks=landmarks,
        score=answer.score,
        pose=pose_from_landmarks(landmarks),
        oval=None if oval is None else (oval + np.array(answer.part[:2], np.float64)).astype(np.float32),
        backend=AvatarDetector.name,
    )


def _about(box: np.ndarray, shape: tuple[int, ...]) -> Tile:
    """x0, y0, x1, y1 of the square in which a (2, 2) box is as large as the network knows faces, inside the picture."""
    height, width = shape[:2]
    side = max(1, min(round(float(np.ptp(box, axis=0).max()) / SHARE), height, width))
    x, y = (round(float(middle - side / 2)) for middle in box.mean(0))
    x, y = min(max(x, 0), width - side), min(max(y, 0), height - side)
    return x, y, x + side, y + side


def _middle_most(ovals: list[np.ndarray], box: np.ndarray) -> np.ndarray:
    """Of (2, 2) boxes the one whose middle is nearest to a box's; the box itself where there are none."""
    return min(ovals, key=lambda one: float(np.linalg.norm(one.mean(0) - box.mean(0))), default=box)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two (2, 2) boxes."""
    shared = float(np.prod(np.maximum(0, np.minimum(one[1], other[1]) - np.maximum(one[0], other[0]))))
    return shared / max(float(np.prod(np.ptp(one, axis=0)) + np.prod(np.ptp(other, axis=0))) - shared, 1e-9)


def _to_part(logits: np.ndarray, part: Tile, placed: Letterbox) -> np.ndarray:
    """The network's (cells, cells) map at the pixels of the window: (y1 - y0, x1 - x0) logits, bilinear."""
    width, height = part[2] - part[0], part[3] - part[1]
    corner = placed.to_fractions(np.zeros(2)) * len(logits) - 0.5
    step = np.array(placed.scale) * len(logits) / placed.size
    matrix = np.array([[step[0], 0, corner[0]], [0, step[1], corner[1]]])
    return cv2.warpAffine(
        logits.astype(np.float32),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _outline(logits: np.ndarray) -> np.ndarray | None:
    """(n, 2) outline of the largest region above 0, or None."""
    contours, _ = cv2.findContours((logits > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    return max(contours, key=cv2.contourArea)[:, 0].astype(np.float32)


def save_avatar_net(net: AvatarNet, directory: str | Path, *, half: bool = True) -> None:
    """Write what `AvatarDetector.from_pretrained` reads; fp16 unless `half` is False."""
    import torch
    from safetensors.torch import save_file

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    weights = {key: value.to("cpu", dtype).contiguous() for key, value in net.state_dict().items()}
    save_file(weights, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(asdict(net.config), indent=2) + "\n")
