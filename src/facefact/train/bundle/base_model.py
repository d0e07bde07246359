"""The bundle's base model: tokenizer, text model, U-Net and scheduler, in the classes of Stable Diffusion, small.

v-prediction with a zero terminal signal-to-noise ratio (Lin et al. 2023), so that dark scenes are dark and light ones
light; noise levels are drawn evenly spread over the batch, more of them in the middle, where a picture's layout is
decided.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from facefact.train.losses.diffusion import eyes_and_mouth, place_weight
from facefact.train.losses.noise import noised, spread_timesteps
from facefact.world import corpus

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"


@dataclass(frozen=True)
class BaseConfig:
    """Widths and heads of the U-Net's two levels (16x16 and 8x8 latents), and the text model's sizes. Few wide heads:
    on a CPU the scores of many narrow ones cost more than all else."""

    widths: tuple[int, ...] = (96, 176)
    heads: tuple[int, ...] = (2, 4)
    latent_channels: int = 8
    sample_size: int = 16
    text_width: int = 160
    text_layers: int = 3
    text_length: int = 40


def learn_merges(words: Counter[str], letters: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016): join the commonest pair of neighbours until every word that occurs
    twice is one symbol; its last letter carries CLIP's end-of-word mark. Of equally common pairs the one of the older
    symbols goes first, so that the merges are the same every time (those of `tokenizers`' trainer are not)."""
    split = {word: [*word[:-1], word[-1] + END_OF_WORD] for word in sorted(words)}
    symbols = dict.fromkeys([*letters, *(symbol for parts in split.values() for symbol in parts)])
    age = {symbol: i for i, symbol in enumerate(symbols)}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], -age[pair[0]], -age[pair[1]]), default=None)
        if best is None or pairs[best] < 2:
            return merges
        merges.append(best)
        age.setdefault(best[0] + best[1], len(age))
        split = {word: joined(parts, best) for word, parts in split.items()}


def joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The symbols of a word with every occurrence of the pair made one."""
    made: list[str] = []
    for part in parts:
        if made and (made[-1], part) == pair:
            made[-1] += part
        else:
            made.append(part)
    return made


def new_tokenizer(config: BaseConfig) -> CLIPTokenizer:
    """A byte-level BPE in CLIP's form in which every word of the world is one token (any other text still is text)."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts = [*corpus(), "a person without hair no hat not and the of man woman face photo drawing avatar"] * 3
    merges = learn_merges(Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text)), letters)
    symbols = [*letters, *(letter + END_OF_WORD for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {symbol: i for i, symbol in enumerate(dict.fromkeys(symbols))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=config.text_length)


def new_text_encoder(config: BaseConfig, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=2 * config.text_width,
            num_hidden_layers=config.text_layers,
            num_attention_heads=config.text_width // 32,
            max_position_embeddings=config.text_length,
            projection_dim=config.text_width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(config: BaseConfig) -> UNet2DConditionModel:
    n = len(config.widths)
    return UNet2DConditionModel(
        sample_size=config.sample_size,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.widths,
        layers_per_block=1,
        cross_attention_dim=config.text_width,
        norm_num_groups=16,
        attention_head_dim=config.heads,  # (diffusers' name for the number of heads)
        down_block_types=("CrossAttnDownBlock2D",) * n,
        up_block_types=("CrossAttnUpBlock2D",) * n,
    )


def new_scheduler() -> DDIMScheduler:
    """What training noises with."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,  # (the trailing spacing does not use it; Stable Diffusion pipelines expect it)
    )


def new_sampler() -> DDPMScheduler:
    """What the bundle samples with: the same noise levels, but each step adds fresh noise.

    A small model's errors stay in a deterministic sampler's picture; here later steps see them and mend them: edges are
    sharper, and faces that went wrong come right (docs/evidence/figures.md).
    """
    known = inspect.signature(DDPMScheduler).parameters
    return DDPMScheduler(**{name: value for name, value in new_scheduler().config.items() if name in known})


class BaseStage(nn.Module):
    """The diffusion loss of U-Net and text model together. The face is a fifth of the picture, and mouth and eyes a
    twentieth, but what one looks at: they count `face_weight` and `feature_weight` times as much as the rest, in dark
    faces more, in bright ones less (`losses.diffusion.weber_weight`)."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        scheduler: DDIMScheduler,
        *,
        face_weight: float = 1.0,
        feature_weight: float = 1.0,
        weber: float = 0.0,
        factor: int = 8,
    ):
        super().__init__()
        self.unet, self.text_encoder = unet.to(memory_format=torch.channels_last), text_encoder
        self.scheduler, self.factor = scheduler, factor
        self.weights = {"face_weight": face_weight, "feature_weight": feature_weight, "weber": weber}

    def embedding_parameters(self) -> list[nn.Parameter]:
        """Of the timestep."""
        return list(self.unet.time_embedding.parameters())

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """batch: as `conditions.batches` makes it for a live text model. -> scalars: loss, and what the squared error
        is without weights, inside the face, and about eyes and mouth."""
        latents, face = batch["latents"], batch["face"]
        timesteps = spread_timesteps(len(latents), latents.device, middle=0.5)
        sample, velocity = noised(self.scheduler, latents, timesteps)
        words = self.text_encoder(batch["ids"])[0]
        error = (self.unet(sample, timesteps, words).sample.float() - velocity).square().mean(1)  # (b, h, w)
        features = eyes_and_mouth(batch["head_to_picture"], (face.shape[1], face.shape[2]), self.factor)
        weight = place_weight(face, features, batch["light"], **self.weights)
        return {
            "loss": (error * weight).sum() / weight.sum(),
            "plain_loss": error.mean(),
            "face_loss": (error * face).sum() / face.sum(),
            "feature_loss": (error * features).sum() / features.sum(),
        }
