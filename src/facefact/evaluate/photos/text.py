"""How well pictures follow their prompts, where a CLIP is at hand: cosines of text and picture, and its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from facefact.types import UserError

BATCH = 32
# Of CLIP's training; its image processor would bring torchvision.
MEAN, SPREAD = (0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)


@dataclass(frozen=True)
class Clip:
    """name: of its folder, for reports."""

    name: str
    model: Any
    tokenizer: Any

    @classmethod
    def open(cls, folder: Path, *, device: str | torch.device = "cpu") -> Clip:
        """A CLIPModel and its tokenizer, as transformers saves both. UserError: the folder holds none."""
        from transformers import AutoTokenizer, CLIPModel

        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True).eval().to(device)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            line = " ".join(str(error).split())
            raise UserError(
                f"{folder} is no CLIP model with its tokenizer, as transformers saves them: {line}"
            ) from error
        return cls(folder.resolve().name, model, tokenizer)

    @torch.no_grad()
    def pictures(self, shown: Sequence[np.ndarray]) -> np.ndarray:
        """(h, w, 3) uint8 each -> (n, d) unit."""
        size = self.model.config.vision_config.image_size
        made = []
        for first in range(0, len(shown), BATCH):
            pixels = np.stack([_square(one, size) for one in shown[first : first + BATCH]]).astype(np.float32) / 255
            normal = (torch.from_numpy(pixels) - torch.tensor(MEAN)) / torch.tensor(SPREAD)
            seen = self.model.vision_model(normal.permute(0, 3, 1, 2).to(self.model.device)).pooler_output
            made.append(F.normalize(self.model.visual_projection(seen), dim=-1).cpu().numpy())
        return np.concatenate(made)

    @torch.no_grad()
    def prompts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) unit."""
        length = self.model.config.text_config.max_position_embeddings
        words = self.tokenizer(list(texts), padding=True, truncation=True, max_length=length, return_tensors="pt")
        asked = {name: words[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        read = self.model.text_model(**asked).pooler_output
        return np.asarray(F.normalize(self.model.text_projection(read), dim=-1).cpu().numpy())


def _square(picture: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the middle of the picture, its shorter side as long as that."""
    image = Image.fromarray(picture)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((size, size), Image.Resampling.BICUBIC))
