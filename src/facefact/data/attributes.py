"""Glasses, hats and hair in words, read by an image-text model of transformers that the user names (CLIP, SigLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from facefact.data.models import licence_of, opened, place_of
from facefact.data.prepare_config import CaptionSettings
from facefact.device import choose_device, choose_dtype

SURE = 0.8  # share of the softmax over one attribute's descriptions below which nothing is said
ROOM = 1.25  # sides of the head's box that the model sees
# What is compared -> what is said of the likeliest ("" for nothing) -> how the model is asked.
ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "glasses": {
        "": "a photo of a person without glasses",
        "wearing glasses": "a photo of a person wearing eyeglasses",
        "wearing sunglasses": "a photo of a person wearing dark sunglasses",
    },
    "hat": {
        "": "a photo of a bare-headed person",
        "wearing a cap": "a photo of a person wearing a cap",
        "wearing a hat": "a photo of a person wearing a hat with a brim",
        "wearing a headscarf": "a photo of a person wearing a headscarf",
    },
    "hair's length": {
        "bald": "a photo of a bald person",
        "short hair": "a photo of a person with short hair",
        "long hair": "a photo of a person with long hair",
    },
    "hair's colour": {
        "": "a photo of a person whose hair cannot be seen",
        "black hair": "a photo of a person with black hair",
        "brown hair": "a photo of a person with brown hair",
        "blond hair": "a photo of a person with blond hair",
        "red hair": "a photo of a person with red hair",
        "grey hair": "a photo of a person with grey hair",
    },
}


def open_attributes(settings: CaptionSettings, *, offline: bool = False) -> Attributes | None:
    """None if the settings name no model. offline: it is not fetched from the hub. UserError: it cannot be had."""
    return None if settings.attributes is None else Attributes(settings, offline=offline)


class Attributes:
    """Which of a few descriptions of a head a zero-shot image classifier finds likeliest, on the best device."""

    def __init__(self, settings: CaptionSettings, *, offline: bool = False) -> None:
        from transformers import AutoModelForZeroShotImageClassification, AutoProcessor

        name = str(settings.attributes)
        place = place_of(name)
        self.name, self.licence = name, licence_of(name)
        self._batch = max(1, settings.batch)
        self._device = choose_device()
        with opened(name, "zero-shot image classifier"):
            model = AutoModelForZeroShotImageClassification.from_pretrained(place, local_files_only=offline)
            self._model = model.to(self._device, choose_dtype(self._device)).eval()
            self._processor = AutoProcessor.from_pretrained(place, local_files_only=offline)
            self.describe([np.full((64, 64, 3), 128, np.uint8)])  # what does not work shall show before the first photo

    def describe(self, heads: Sequence[np.ndarray]) -> list[list[str]]:
        """The phrases for each (h, w, 3) uint8 RGB picture of a head, glasses first; those that are sure."""
        found: list[list[str]] = []
        for first in range(0, len(heads), self._batch):
            shares = self.shares(heads[first : first + self._batch])
            found += [phrases_of({name: table[i] for name, table in shares.items()}) for i in range(len(shares["hat"]))]
        return found

    def shares(self, heads: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """n heads -> of each attribute (n, descriptions) shares that add up to 1, in the order of ATTRIBUTES."""
        import torch

        asked = [text for texts in ATTRIBUTES.values() for text in texts.values()]
        inputs = self._processor(
            text=asked,
            images=[Image.fromarray(one) for one in heads],
            return_tensors="pt",
            padding="max_length",  # as SigLIP was trained; to CLIP it is all one
            max_length=self._model.config.text_config.max_position_embeddings,
            truncation=True,
        ).to(self._device, self._model.dtype)
        with torch.inference_mode():
            logits = self._model(**inputs).logits_per_image.float()  # (n, all descriptions)
        parts = logits.split([len(texts) for texts in ATTRIBUTES.values()], dim=1)
        return {name: part.softmax(1).cpu().numpy() for name, part in zip(ATTRIBUTES, parts, strict=True)}


def phrases_of(shares: Mapping[str, np.ndarray]) -> list[str]:
    """What is said: of each attribute the likeliest description's words, where it is sure and not nothing. A bald head
    has no colour of hair, and under a hat nothing is said of how long the hair is."""
    said: dict[str, str] = {}
    for name, texts in ATTRIBUTES.items():
        best = int(shares[name].argmax())
        if shares[name][best] >= SURE and (words := list(texts)[best]):
            said[name] = words
    if said.get("hair's length") == "bald":
        said.pop("hair's colour", None)
    if "hat" in said:
        said.pop("hair's length", None)
    return list(said.values())


def head_of(pixels: np.ndarray, head: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 picture, (h, w) bool head -> the square about the head with some room, as far as the picture
    goes; the whole picture where there is no head."""
    x, y, width, height = cv2.boundingRect(head.astype(np.uint8))
    if not width:
        return pixels
    half = ROOM * max(width, height) / 2
    rows, columns = (
        slice(max(0, round(middle - half)), round(middle + half) + 1) for middle in (y + height / 2, x + width / 2)
    )
    return np.ascontiguousarray(pixels[rows, columns])
