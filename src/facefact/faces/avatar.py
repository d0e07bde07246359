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

from facefact.faces.detector import largest_first, overlapping_removed
from facefact.faces.pose import pose_from_landmarks
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
WINDOW_STEP = 0.5  # a long picture may hold several avatars: square windows, half overlapping
LONG = 1.4  # a picture is long from this ratio of its sides on
MAX_WINDOWS = 16
CUT = 0.02  # of a window's side: a box nearer to its edge is cut off


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


def windows(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """x0, y0, x1, y1 of the parts to look at: the whole picture or, if it is long, overlapping squares along it."""
    side, length = min(height, width), max(height, width)
    if length < LONG * side:
        return [(0, 0, width, height)]
    count = min(MAX_WINDOWS, int(np.ceil((length - side) / (side * WINDOW_STEP))) + 1)
    starts = np.linspace(0, length - side, count).round().astype(int)
    if width > height:
        return [(int(s), 0, int(s) + side, side) for s in starts]
    return [(0, int(s), side, int(s) + side) for s in starts]


class AvatarDetector:
    """At most one avatar per square window of the picture (see `windows`); the head mask is the network's own map."""

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
        """Avatars of an (h, w, 3) uint8 RGB picture, largest first."""
        return [face for face, _ in self._faces_and_masks(picture)]

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool: the head with hair of one face that `detect` returned for this picture (else ValueError)."""
        for found, mask in self._faces_and_masks(picture):
            if np.array_equal(found.landmarks, face.landmarks):
                return mask
        raise ValueError("the face is not from this picture")

    def _faces_and_masks(self, picture: np.ndarray) -> list[tuple[Face, np.ndarray]]:
        """Of an (h, w, 3) uint8 RGB picture the faces, largest first, each with its (h, w) bool head mask."""
        import torch

        parts = windows(*picture.shape[:2])
        boxed = [letterbox(picture[y0:y1, x0:x1], self.net.config.size) for x0, y0, x1, y1 in parts]
        device = next(self.net.parameters()).device
        with torch.inference_mode():
            output = self.net(net_input([square for square, _ in boxed]).to(device))
        answers: dict[str, Any] = {key: value.cpu().numpy() for key, value in vars(output).items()}
        scores = 1 / (1 + np.exp(-answers["presence"].astype(np.float64)))
        found = [
            self._face({key: value[i] for key, value in answers.items()}, float(scores[i]), parts[i], boxed[i][1])
            for i in range(len(parts))
            if scores[i] >= self.presence
        ]
        found = [item for item in found if not _cut_off(item[0], item[1][1], picture.shape)]
        kept = largest_first(overlapping_removed([face for face, _ in found]))
        return [
            (face, self._mask(answer, picture.shape[:2])) for face in kept for seen, answer in found if seen is face
        ]

    @staticmethod
    def _face(
        answer: dict[str, np.ndarray], score: float, part: tuple[int, int, int, int], placed: Letterbox
    ) -> tuple[Face, tuple[np.ndarray, tuple[int, int, int, int], Letterbox]]:
        """The network's answer for one window as a face in pixels of the picture, and what `_mask` needs."""
        offset = np.array(part[:2], np.float64)
        box = placed.to_pixels(answer["box"].reshape(2, 2)) + offset
        landmarks = (placed.to_pixels(answer["landmarks"]) + offset).astype(np.float32)
        oval = _outline(_to_part(answer["oval"], part, placed))
        face = Face(
            box=(float(box[0, 0]), float(box[0, 1]), float(box[1, 0]), float(box[1, 1])),
            landmarks=landmarks,
            score=score,
            pose=pose_from_landmarks(landmarks),
            oval=None if oval is None else (oval + offset).astype(np.float32),
            backend=AvatarDetector.name,
        )
        return face, (answer["head"], part, placed)

    @staticmethod
    def _mask(answer: tuple[np.ndarray, tuple[int, int, int, int], Letterbox], shape: tuple[int, ...]) -> np.ndarray:
        """(cells, cells) logits of the head, their window and how it was placed -> (h, w) bool, of the picture."""
        logits, part, placed = answer
        x0, y0, x1, y1 = part
        mask = np.zeros(shape, bool)
        mask[y0:y1, x0:x1] = _to_part(logits, part, placed) > 0
        return mask


def _cut_off(face: Face, part: tuple[int, int, int, int], shape: tuple[int, ...]) -> bool:
    """Whether the face reaches an edge of its window inside the picture: another window sees all of it."""
    low, high = part[0] > 0 or part[1] > 0, part[2] < shape[1] or part[3] < shape[0]
    axis = 0 if shape[1] > shape[0] else 1
    margin = CUT * (part[2] - part[0])
    return (low and face.box[axis] < part[axis] + margin) or (high and face.box[axis + 2] > part[axis + 2] - margin)


def _to_part(logits: np.ndarray, part: tuple[int, int, int, int], placed: Letterbox) -> np.ndarray:
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
