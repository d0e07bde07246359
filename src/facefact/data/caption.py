"""What a picture shows, in one line: from what was measured (`words`), or by a vision-language model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from facefact.data.models import licence_of, opened, place_of
from facefact.data.prepare_config import CaptionSettings
from facefact.data.words import words
from facefact.device import choose_device, choose_dtype

__all__ = ["Captioner", "open_captioner", "words"]

PROMPTS = {"florence2": "<CAPTION>"}  # by the kind of model: what it was trained to be asked
CHAT_PROMPT = "Describe this portrait in one sentence."
WRAPPING = " \"'`"


def open_captioner(settings: CaptionSettings, *, offline: bool = False) -> Captioner | None:
    """None if the settings name no model. offline: it is not fetched from the hub. UserError: it cannot be had."""
    return None if settings.model is None else Captioner(settings, offline=offline)


class Captioner:
    """An image-text-to-text model of transformers (BLIP, Florence-2, GIT, LLaVA and their like) by directory or hub id,
    on the best device there is. It decodes greedily: the same pictures get the same captions."""

    def __init__(self, settings: CaptionSettings, *, offline: bool = False) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        name = str(settings.model)
        place = place_of(name)
        self.name, self.licence = name, licence_of(name)
        self._batch, self._longest = max(1, settings.batch), settings.max_new_tokens
        self._device = choose_device()
        self._dtype = choose_dtype(self._device)
        with opened(name, "captioning model"):
            model = AutoModelForImageTextToText.from_pretrained(place, local_files_only=offline)
            self._model = model.to(self._device, self._dtype).eval()
            self._processor = AutoProcessor.from_pretrained(place, local_files_only=offline)
            if not model.config.is_encoder_decoder:  # what is written continues the question: fill up before it
                self._processor.tokenizer.padding_side = "left"
            self._question = self._asked(settings.prompt, model.config.model_type)
            self.describe([np.full((64, 64, 3), 128, np.uint8)])  # what does not work shall show before the first photo

    def _asked(self, prompt: str | None, kind: str) -> str | None:
        """The prompt as the model wants it: None for none; in its chat form where it has one."""
        prompt = prompt or PROMPTS.get(kind)
        if getattr(self._processor, "chat_template", None) is None:
            return prompt
        content = [{"type": "image"}, {"type": "text", "text": prompt or CHAT_PROMPT}]
        return self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def describe(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """A line for each (h, w, 3) uint8 RGB picture; "" where the model says nothing."""
        lines: list[str] = []
        for first in range(0, len(pictures), self._batch):
            lines += self._describe([Image.fromarray(one) for one in pictures[first : first + self._batch]])
        return lines

    def _describe(self, images: list[Image.Image]) -> list[str]:
        import torch

        asked: dict[str, Any] = {}
        if self._question is not None:
            asked = {"text": [self._question] * len(images), "padding": True}
        inputs = self._processor(images=images, return_tensors="pt", **asked).to(self._device, self._dtype)
        with torch.inference_mode():
            written = self._model.generate(
                **inputs, max_new_tokens=self._longest, do_sample=False, num_beams=1, use_cache=True
            )
        question = inputs.get("input_ids")
        if question is not None and torch.equal(written[:, : question.shape[1]], question):
            written = written[:, question.shape[1] :]  # decoders without an encoder repeat what they were asked
        return [one_line(text) for text in self._processor.batch_decode(written, skip_special_tokens=True)]


def one_line(text: str) -> str:
    """Without control characters, line breaks, quotes around it and the full stop at its end."""
    plain = "".join(" " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in text)
    return " ".join(plain.split()).strip(WRAPPING).rstrip(".").strip(WRAPPING)
