"""InsightFace (`pip install insightface onnxruntime`): good on small and turned faces; models: non-commercial."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np

from facefact.faces.detector import largest_first
from facefact.faces.mask import head_ellipse
from facefact.faces.pose import pose_from_landmarks
from facefact.types import Face, UserError

PACK = "buffalo_l"
HOME = Path.home() / ".insightface"
SIDE = 640
SMALLEST = 16  # pixels; no face can be found in a picture of less


class InsightFaceDetector:
    """The RetinaFace-style detector of a model pack. Its head mask is an ellipse (see `mask.head_ellipse`)."""

    name = "insightface"
    licence = "InsightFace models: for non-commercial research only (the code is MIT)"

    def __init__(self, pack: str = PACK, *, offline: bool = True) -> None:
        """InsightFace fetches the pack on first use, so only with `offline` False. UserError if it cannot be had."""
        try:
            from insightface.app import FaceAnalysis
        except ImportError as error:
            raise UserError("InsightFace is not installed: pip install insightface onnxruntime") from error
        if offline and not (HOME / "models" / pack).is_dir():
            where = HOME / "models" / pack
            raise UserError(f"InsightFace's models are not in {where}: allow the download (drop --offline)")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints every model it finds
                self._app = FaceAnalysis(name=pack, allowed_modules=["detection"], providers=["CPUExecutionProvider"])
                self._app.prepare(ctx_id=-1, det_size=(SIDE, SIDE))
        except Exception as error:  # download, onnxruntime and assertion errors alike
            raise UserError(f"InsightFace's models {pack} cannot be loaded: {' '.join(str(error).split())}") from error

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Faces of an (h, w, 3) uint8 RGB picture, largest first."""
        if min(picture.shape[:2]) < SMALLEST:
            return []
        return largest_first(
            Face(
                box=(float(found.bbox[0]), float(found.bbox[1]), float(found.bbox[2]), float(found.bbox[3])),
                landmarks=np.asarray(found.kps, np.float32),
                score=float(found.det_score),
                pose=pose_from_landmarks(found.kps),
                backend=self.name,
            )
            for found in self._app.get(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        )

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(h, w) bool, an ellipse."""
        return head_ellipse(picture.shape, face.landmarks)
