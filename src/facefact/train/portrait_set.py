"""The world's training set for base model and adapter, with everything frozen computed once: latents, face tokens,
masks, looks.

One file a shard, written whole or not at all; a set that was interrupted goes on with the shards that are missing, and
two processes may fill one set (give each its `rank` of `world_size`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTokenizer

from facefact.encoder import TransFace
from facefact.metrics.views import to_pixels
from facefact.train.loop import Batches
from facefact.train.recogniser import aligned_head, training_seed
from facefact.types import UserError
from facefact.world import CHOICES, Look, caption, look, person, phrases_to_drop, render

PEOPLE_PER_SHARD = 32


@dataclass(frozen=True)
class PortraitSet:
    """n portraits, `looks` of each person in a row.

    latents: (n, c, h, w) fp16, scaled for the U-Net. tokens: (n, t, width) fp16, the encoder's for the aligned head.
    face: (n, h, w) uint8, the share of each latent cell that is face, times 255. choices: (n, factors) uint8 indices
    into `CHOICES`. yaw: (n,) degrees.
    """

    latents: Tensor
    tokens: Tensor
    face: Tensor
    choices: Tensor
    yaw: Tensor
    looks: int

    def __len__(self) -> int:
        return len(self.latents)

    def look(self, index: int) -> Look:
        row = self.choices[index].tolist()
        named = {name: values[i] for (name, values), i in zip(CHOICES.items(), row, strict=True)}
        return Look(named, float(self.yaw[index]), 0.0, (0.0, 0.0), 1.0, 0)


@torch.no_grad()
def render_shard(
    shard: int, *, looks: int, seed: int, autoencoder: AutoencoderKL, encoder: TransFace
) -> dict[str, Tensor]:
    rng = np.random.default_rng((seed, shard))
    parts: dict[str, list[Tensor]] = {"latents": [], "tokens": [], "face": [], "choices": [], "yaw": []}
    for _ in range(PEOPLE_PER_SHARD):
        who = person(training_seed(rng))
        shown = [look(training_seed(rng)) for _ in range(looks)]
        drawn = [render(who, one) for one in shown]
        pixels = torch.stack([to_pixels(one.image) for one in drawn])
        heads = torch.stack([to_pixels(aligned_head(one, rng)) for one in drawn])
        device = autoencoder.device
        with torch.autocast(device.type, torch.bfloat16):
            latents = (
                autoencoder.encode(pixels.to(device)).latent_dist.mode().float() * autoencoder.config.scaling_factor
            )
            tokens = encoder(heads.to(device))
        cells = pixels.shape[-1] // latents.shape[-1]
        face = torch.stack([torch.from_numpy(one.face.astype(np.float32)) for one in drawn])
        parts["latents"].append(latents.half().cpu())
        parts["tokens"].append(tokens.half().cpu())
        parts["face"].append((torch.nn.functional.avg_pool2d(face, cells) * 255).byte())
        parts["choices"].append(torch.tensor([[v.index(one[k]) for k, v in CHOICES.items()] for one in shown]).byte())
        parts["yaw"].append(torch.tensor([one.yaw for one in shown]))
    return {name: torch.cat(values) for name, values in parts.items()}


def fill(
    folder: Path, *, people: int, looks: int, seed: int, autoencoder: AutoencoderKL, encoder: TransFace, rank: int = 0,
    world_size: int = 1,
) -> None:  # fmt: skip
    """Write the shards of a set that are not there yet. UserError: one that is there was drawn with another seed."""
    folder.mkdir(parents=True, exist_ok=True)
    made_with = {"looks": str(looks), "seed": str(seed)}
    shards = range(rank, -(-people // PEOPLE_PER_SHARD), world_size)
    for shard in tqdm(shards, desc=folder.name, unit="shard", disable=rank > 0, dynamic_ncols=True):
        path = folder / f"{shard:05d}.safetensors"
        if path.exists():
            with safe_open(path, "pt") as found:
                if found.metadata() != made_with:
                    raise UserError(f"{path} was made with {found.metadata()}, not {made_with}: give another folder")
            continue
        arrays = render_shard(shard, looks=looks, seed=seed, autoencoder=autoencoder, encoder=encoder)
        save_file(arrays, path.with_suffix(".partial"), metadata=made_with)
        os.replace(path.with_suffix(".partial"), path)


def load(folder: Path, *, looks: int) -> PortraitSet:
    shards = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    if not shards:
        raise FileNotFoundError(f"{folder} holds no portrait set yet; fill it first")
    return PortraitSet(**{name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}, looks=looks)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """(n, model_max_length) token ids, padded as a Stable Diffusion pipeline pads them."""
    return tokenizer(
        captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids


def batches(
    data: PortraitSet, tokenizer: CLIPTokenizer, *, batch: int, seed: int, text_drop: float = 0.1,
    phrase_drop: float = 0.05, shuffle: float = 1.0, face_drop: float = 0.1, rank: int = 0,
) -> Batches:  # fmt: skip
    """step -> iterator of batches: latents, ids, face (share of each cell), tokens of the condition and face_dropped
    (b,) bool.

    The condition is another picture of the same person with probability `shuffle`, else the same picture.
    """

    def batches_from(step: int) -> Iterator[dict[str, Tensor]]:
        while True:
            rng = np.random.default_rng((seed, step, rank))
            index = rng.integers(len(data), size=batch)
            other = (
                index - index % data.looks + (index % data.looks + rng.integers(1, data.looks, size=batch)) % data.looks
            )
            source = np.where(rng.random(batch) < shuffle, other, index)
            words = [
                "" if rng.random() < text_drop else caption(data.look(i), without=phrases_to_drop(rng, phrase_drop))
                for i in index
            ]
            yield {
                "latents": data.latents[index].float(),
                "ids": tokenize(tokenizer, words),
                "face": data.face[index].float() / 255,
                "tokens": data.tokens[source].float(),
                "face_dropped": torch.from_numpy(rng.random(batch) < face_drop),
            }
            step += 1

    return batches_from
