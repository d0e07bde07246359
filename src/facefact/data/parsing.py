"""What hides a face as a face-parsing model sees it: a semantic segmentation of transformers, such as SegFormer."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np

from facefact.data.models import licence_of, opened, place_of
from facefact.data.records import Candidate, Masks
from facefact.device import choose_device
from facefact.faces.square import cut, square_about
from facefact.types import UserError

# Words of a class's name that inside a face's outline mean: hidden. Glasses and hair belong to a portrait.
COVERING = frozenset(
    ("background", "bg", "cap", "cloth", "clothes", "clothing", "hand", "hands")
    + ("hat", "headwear", "helmet", "mask", "object", "occluder", "occlusion")
)
ENLARGED = 2.0  # the view's side in units of the face's box: heads fill such models' training pictures
EDGE = 0.06  # of the box's height: within it of the outline, parsing and outline differ anyway


class Parsing:
    """name: a directory or a hub id. Resized and normalised as the model's own settings say, by hand: its image
    processor may need torchvision."""

    reason = "object"

    def __init__(self, name: str, *, offline: bool = False) -> None:
        """UserError: it cannot be had, or none of its classes is anything that hides a face."""
        from transformers import AutoModelForSemanticSegmentation
        from transformers.image_processing_base import ImageProcessingMixin

        place = place_of(name)
        with opened(name, "face-parsing model"):
            self._model = AutoModelForSemanticSegmentation.from_pretrained(place, local_files_only=offline).eval()
            form, _ = ImageProcessingMixin.get_image_processor_dict(place, local_files_only=offline)
        self._device = choose_device()
        self._model.to(self._device)
        self.name, self.licence = name, licence_of(name)
        self.side = _side(form.get("size", 512))
        self._mean = np.array(form.get("image_mean") or (0.485, 0.456, 0.406), np.float32)
        self._std = np.array(form.get("image_std") or (0.229, 0.224, 0.225), np.float32)
        self._scale = float(form.get("rescale_factor") or 1 / 255)
        self.covering = covering_classes(self._model.config.id2label)
        if not self.covering:
            classes = ", ".join(str(label) for label in self._model.config.id2label.values())
            raise UserError(f"{name} names nothing that hides a face among its classes ({classes[:80]}): take another")

    def share(self, candidate: Candidate, masks: Masks) -> float:
        """Of the face (its outline narrowed by EDGE) that belongs to a class that hides."""
        box = np.array(candidate.face.box).reshape(2, 2)
        view, matrix = cut(candidate.picture.pixels, square_about(box, ENLARGED), self.side)
        face = cv2.warpAffine(masks.face.astype(np.uint8), matrix, (self.side, self.side), flags=cv2.INTER_NEAREST)
        edge = max(1, round(2 * EDGE * float(box[1, 1] - box[0, 1]) * matrix[0, 0])) | 1
        face = cv2.erode(face, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), borderValue=0)
        hidden = np.isin(self.classes(view), self.covering)
        return float((hidden & (face > 0)).sum() / max(1, face.sum()))

    def classes(self, view: np.ndarray) -> np.ndarray:
        """(side, side, 3) uint8 RGB -> (side, side) the class of each pixel."""
        import torch
        import torch.nn.functional as F

        pixels = (view.astype(np.float32) * self._scale - self._mean) / self._std
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self._device)
        with torch.inference_mode():
            logits = self._model(pixel_values=batch).logits.float()
            full = F.interpolate(logits, size=view.shape[:2], mode="bilinear", align_corners=False)
        return full[0].argmax(0).cpu().numpy()


def covering_classes(names: dict[int, Any]) -> list[int]:
    """The classes whose names hold one of the words in COVERING."""
    return [number for number, name in names.items() if COVERING & set(re.split(r"[^a-z]+", str(name).lower()))]


def _side(size: Any) -> int:
    """The input's side, of what image processors call size: a number, or a height, or a shortest edge."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge") or 512
    return int(size)
