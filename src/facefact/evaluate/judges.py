"""Who judges: a recogniser, a reader of attributes and a face finder, all trained apart from what they judge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from facefact.encoder import TransFace
from facefact.encoder.files import load_transface
from facefact.faces import face_crop
from facefact.faces.avatar import AvatarDetector
from facefact.metrics.reader import AttributeReader
from facefact.metrics.views import to_pixels
from facefact.types import UserError
from facefact.world import CHOICES

KNOWN_AVATAR = 0.5  # what is judged is meant to be an avatar: the bar against photos does not apply
FACE_MARGIN = 1 / 32  # share of the picture's side by which a found face is grown before "outside" begins


@dataclass(frozen=True)
class Judges:
    """recogniser: of another seed and width than the adapter's encoder."""

    recogniser: TransFace
    reader: AttributeReader
    detector: AvatarDetector

    @classmethod
    def open(cls, judges: Path, bundle: Path) -> Judges:
        """From the directories of the judges and of the bundle (whose face finder is used). UserError: not whole."""
        return cls(
            recogniser=load_transface(judges / "recogniser"),
            reader=AttributeReader.from_pretrained(judges / "reader"),
            detector=AvatarDetector.from_pretrained(bundle / "face_detector", presence=KNOWN_AVATAR),
        )

    def embed(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """(h, w, 3) uint8 pictures -> (n, d) unit embeddings of the largest face of each."""
        return self.embed_views(self.view(picture) for picture in pictures)

    @torch.no_grad()
    def embed_views(self, views: Iterable[np.ndarray]) -> np.ndarray:
        """The same of what `view` gives."""
        pixels = torch.stack([to_pixels(view) for view in views])
        return np.concatenate([F.normalize(self.recogniser.embed(part), dim=-1).numpy() for part in pixels.split(64)])

    def view(self, picture: np.ndarray) -> np.ndarray:
        """(112, 112, 3) uint8: the aligned head; black where no face is found, which is like nobody."""
        try:
            return face_crop(picture, detector=self.detector, warn=False).pixels
        except UserError:
            return np.zeros((112, 112, 3), np.uint8)

    def read(self, pictures: Iterable[np.ndarray]) -> list[dict[str, str]]:
        """The named attributes of each picture, as the reader sees them."""
        pixels = torch.stack([to_pixels(picture) for picture in pictures])
        read = self.reader.read(pixels)
        return [{name: CHOICES[name][int(read[name][i])] for name in CHOICES} for i in range(len(pixels))]

    def face(self, picture: np.ndarray) -> np.ndarray:
        """(h, w) bool: the face and a margin around it; all False where none is found."""
        height, width = picture.shape[:2]
        plane = np.zeros((height, width), np.uint8)
        for found in self.detector.detect(picture)[:1]:
            if found.oval is not None:
                cv2.fillPoly(plane, [np.round(found.oval).astype(np.int32)], 1)
        side = 2 * round(FACE_MARGIN * width) + 1
        return cv2.dilate(plane, np.ones((side, side), np.uint8)).astype(bool)

    def faces(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """(n, h, w) bool: see `face`."""
        return np.stack([self.face(picture) for picture in pictures])
