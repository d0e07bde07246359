"""YuNet through OpenCV: box and five ArcFace-style landmarks, small and blurred faces too. One ONNX file of 0.3 MB."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from facefact.faces.closer import Found, look_closer, seen_in
from facefact.faces.detector import largest_first
from facefact.faces.mask import head_ellipse
from facefact.faces.pose import pose_from_landmarks
from facefact.faces.turned import any_way_up
from facefact.types import Face, UserError

VARIABLE = "FACEFACT_YUNET"
FILES = ("face_detection_yunet_2023mar.onnx", "yunet_n_640_640.onnx")
HUB = ("opencv/face_detection_yunet", FILES[0])
SCORE = 0.7  # below it, hits on foliage and star fields begin
NMS = 0.3
UPRIGHT = 0.92  # score below which other ways up are tried: upside down it is nearly as sure, and puts the points wrong
# Longest side of the picture as the network sees it; the next is tried only where the one before saw no face.
SIDES = (640, 320, 1280)
SMALLEST = 16  # pixels; no face can be found in a picture of less


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facefact"


def find_yunet(model: str | os.PathLike[str] | None = None, *, offline: bool = True) -> Path | None:
    """The model file: the one given, the one that FACEFACT_YUNET names, the cache's, or (`offline` False) the hub's.

    None if there is none; UserError if the one given or named does not exist.
    """
    given = model or os.environ.get(VARIABLE)
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise UserError(f"{path}: there is no such YuNet file{'' if model else f' (from {VARIABLE})'}")
        return path
    for name in FILES:
        if (cache_dir() / name).is_file():
            return cache_dir() / name
    return None if offline else _pull()


def _pull() -> Path | None:
    """From the hub into its cache; None if it cannot be had."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(HUB[0], HUB[1]))
    except Exception:  # no hub client, no network, no such file: the caller's line says how to mend any of these
        return None


class YuNetDetector:
    """OpenCV's `FaceDetectorYN`. It knows no outline of the head: its head mask is an ellipse (see
    `mask.head_ellipse`)."""

    name = "yunet"
    licence = "YuNet weights: Apache-2.0 where libfacedetection trained them, MIT in OpenCV's zoo"

    def __init__(self, model: str | os.PathLike[str], *, score: float = SCORE) -> None:
        """UserError if the file is no YuNet."""
        level = cv2.utils.logging.getLogLevel()
        # OpenCV 5 warns about a graph engine whenever a detector is made, which helps nobody here.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            self._net = cv2.FaceDetectorYN.create(os.fspath(model), "", (320, 320), score, NMS)
        except cv2.error as error:
            raise UserError(f"{model}: OpenCV cannot read it as a YuNet model") from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Faces of an (h, w, 3) uint8 RGB picture, largest first, whichever way up it is."""
        if min(picture.shape[:2]) < SMALLEST:
            return []
        return any_way_up(picture, self._detect, sure=UPRIGHT)

    def _detect(self, picture: np.ndarray) -> list[Face]:
        """Those that are upright."""
        return largest_first(
            _face(one) for one in look_closer(picture.shape, lambda tile: seen_in(picture, tile, self._look))
        )

    def _look(self, view: np.ndarray) -> list[Found]:
        """What the network sees in an (h, w, 3) uint8 RGB view, at the first of SIDES at which it sees anything."""
        longest = max(view.shape[:2])
        for side in dict.fromkeys(min(side, longest) for side in SIDES):
            if found := self._at(view, side):
                return found
        return []

    def _at(self, view: np.ndarray, side: int) -> list[Found]:
        """Seen shrunk (never enlarged) to a longest side of `side`."""
        height, width = view.shape[:2]
        scale = min(1.0, side / max(height, width))
        new = max(1, round(width * scale)), max(1, round(height * scale))
        seen = view if scale == 1 else cv2.resize(view, new, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(new)
        _, rows = self._net.detect(cv2.cvtColor(seen, cv2.COLOR_RGB2BGR))
        back = np.array([width / new[0], height / new[1]])
        return [] if rows is None else [_found(row, back) for row in rows if np.isfinite(row).all()]

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool, an ellipse."""
        return head_ellipse(picture.shape, face.landmarks)


def _found(row: np.ndarray, back: np.ndarray) -> Found:
    """One (15,) row of OpenCV's answer: x, y, w, h, five points in our order, score. back: (2,) picture pixels per
    pixel that the network saw."""
    corner, size = row[:2] * back, row[2:4] * back
    return Found(np.stack([corner, corner + size]), float(row[14]), row[4:14].reshape(5, 2) * back)


def _face(found: Found) -> Face:
    landmarks, (x0, y0, x1, y1) = np.asarray(found.points, np.float32), found.box.ravel().tolist()
    return Face(
        box=(x0, y0, x1, y1),
        landmarks=landmarks,
        score=found.score,
        pose=pose_from_landmarks(landmarks),
        backend=YuNetDetector.name,
    )
