"""Everything frozen that the adapter's training stands on, opened once: autoencoder, text models, U-Net, scheduler and
face encoder, and what the first two and the last make of pictures, captions and faces."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from facefact import checkpoint
from facefact.device import DTYPES, SHORT, choose_precision, training_device
from facefact.encoder import TransFace, TransFaceConfig
from facefact.encoder.facechain import encoder_from_state
from facefact.encoder.files import load_transface
from facefact.face_adapter import FORMAT, FaceAdapter
from facefact.train.settings import BaseModel, NewAdapter
from facefact.types import UserError

BUNDLE = "bundle"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
ADAPTER = "adapter"  # where a bundle keeps its adapter


@dataclass
class Base:
    """A base model. Text models and U-Net are of the settings' type; the autoencoder stays in float32: what it makes is
    cached once and learned from many times, and SDXL's overflows in fp16.

    text_encoders, tokenizers: one (Stable Diffusion) or two (SDXL). scheduler: says how to noise, and what the U-Net
    predicts (`scheduler.config.prediction_type`: epsilon or v_prediction).
    """

    vae: AutoencoderKL
    unet: UNet2DConditionModel
    text_encoders: tuple[Any, ...]
    tokenizers: tuple[Any, ...]
    scheduler: DDIMScheduler

    @property
    def is_xl(self) -> bool:
        """Whether the U-Net reads pooled text and the picture's sizes besides."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def factor(self) -> int:
        """Pixels of a latent cell's side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.vae, self.unet, *self.text_encoders)


@dataclass
class Frozen(Base):
    """The base model and the face encoder (float32). Nothing of it learns."""

    encoder: TransFace = field(kw_only=True)

    def modules(self) -> tuple[nn.Module, ...]:
        return (*super().modules(), self.encoder)

    def to(self, device: torch.device | str) -> Frozen:
        for module in self.modules():
            module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.encoder.pos_embed.device

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what decides latents, tokens and text states (vae, encoder, text); computed once."""
        text = {f"{i}.{k}": v for i, one in enumerate(self.text_encoders) for k, v in one.state_dict().items()}
        words = json.dumps([[sorted(one.get_vocab()), one.model_max_length] for one in self.tokenizers])
        scale = f"{self.vae.config.scaling_factor} {self.vae.config.shift_factor}"
        return {
            "vae": f"{checkpoint.content_hash(self.vae.state_dict())} {scale}",
            "encoder": checkpoint.content_hash(self.encoder.state_dict()),
            "text": f"{checkpoint.content_hash(text)} {zlib.crc32(words.encode()):08x}",
        }


def open_frozen(base: BaseModel, adapter: NewAdapter, *, bundle: Path) -> Frozen:
    """Base model and encoder on the CPU. bundle: the directory of the embedded model. UserError: see the two parts."""
    parts = open_base(base, bundle=bundle)
    encoder = open_encoder(adapter.encoder, bundle=bundle)
    return Frozen(**vars(parts), encoder=encoder)


def open_base(settings: BaseModel, *, bundle: Path) -> Base:
    """The base model that the settings name, frozen. The hub is asked only for a hub id that the user named.

    UserError: no such model, a broken one, one of another architecture, an inpainting model."""
    dtype = DTYPES[SHORT[choose_precision(training_device(), settings.dtype)]]
    if settings.source.startswith("random:"):
        base = random_base(settings.source.removeprefix("random:"), dtype)
    else:
        directory = bundle if settings.source == BUNDLE else _directory(settings)
        base = _read_base(directory, dtype, settings.variant)
    _check(base, settings.source)
    if settings.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    for module in base.modules():
        module.requires_grad_(False).eval()
    base.vae.to(memory_format=torch.channels_last)  # (encodes in two thirds of the time)
    return base


def _check(base: Base, source: str) -> None:
    unet, vae = base.unet.config, base.vae.config
    if unet.in_channels != vae.latent_channels:
        raise UserError(
            f"{source} is an inpainting model (its U-Net reads {unet.in_channels} channels, the autoencoder has "
            f"{vae.latent_channels}): train for its text-to-image base; the adapter then serves both"
        )
    if unet.addition_embed_type not in (None, "text_time"):
        raise UserError(f"{source} is conditioned by {unet.addition_embed_type}: Stable Diffusion and SDXL are known")
    if base.is_xl and len(base.text_encoders) != 2:
        raise UserError(f"{source} has {len(base.text_encoders)} text model, SDXL has two: is it the refiner?")
    if vae.latents_mean is not None:
        raise UserError(f"{source}: latents with a mean per channel are not supported")
    if base.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(f"{source} predicts {base.scheduler.config.prediction_type}: epsilon or v_prediction is needed")


# A diffusers directory


def _directory(settings: BaseModel) -> Path:
    """Where the base model lies; fetched where the user named a hub id."""
    source = settings.source
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    if not HUB_ID.fullmatch(source):
        raise UserError(f"base.source: {source!r} is no directory here, no hub id (owner/name), bundle or random:...")
    from huggingface_hub import snapshot_download

    folders = ("vae", "unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
    weights = f"*.{settings.variant}*.safetensors" if settings.variant else "*.safetensors"
    wanted = [f"{folder}/{pattern}" for folder in folders for pattern in ("*.json", "*.txt", weights)]
    others = None if settings.variant else ["*.*.safetensors"]  # (variants have two dots)
    try:
        return Path(
            snapshot_download(
                source, revision=settings.revision, allow_patterns=["model_index.json", *wanted], ignore_patterns=others
            )
        )
    except Exception as error:  # besides its own errors, those of whatever HTTP library this version of the client uses
        raise UserError(f"base.source: the hub did not give {source}: {_line(error)}") from error


def _read_base(directory: Path, dtype: torch.dtype, variant: str | None) -> Base:
    """The parts of a pipeline's directory. Opens no network connection."""
    classes = _classes(directory)
    options = {"variant": variant, "local_files_only": True}
    text: list[Any] = []
    try:
        for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
            if name in classes:
                text.append(kind.from_pretrained(directory / name, dtype=dtype, **options))
        return Base(
            vae=AutoencoderKL.from_pretrained(directory / "vae", torch_dtype=torch.float32, **options),
            unet=UNet2DConditionModel.from_pretrained(directory / "unet", torch_dtype=dtype, **options),
            text_encoders=tuple(text),
            tokenizers=tuple(
                CLIPTokenizer.from_pretrained(directory / name, local_files_only=True)
                for name in ("tokenizer", "tokenizer_2")
                if name in classes
            ),
            scheduler=_scheduler(DDIMScheduler.load_config(directory / "scheduler")),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"cannot open the base model {directory}: {_line(error)}") from error


def _classes(directory: Path) -> dict[str, str]:
    """Part -> class of the parts that the pipeline has. UserError: none, or not one of Stable Diffusion's kind."""
    path = directory / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        classes = {name: pair[1] for name, pair in index.items() if isinstance(pair, list) and pair[1] is not None}
    except FileNotFoundError:
        raise UserError(f"{directory} is no diffusers pipeline: it has no model_index.json") from None
    except (OSError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{path} cannot be read: {_line(error)}") from error
    expected = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    for name, kind in expected.items():
        if classes.get(name, kind.__name__) != kind.__name__ or (name in ("unet", "vae") and name not in classes):
            found = classes.get(name, "nothing")
            raise UserError(f"{directory}: its {name} is {found}, training needs {kind.__name__} (SD 1.x, 2.x or SDXL)")
    return classes


def _scheduler(config: Mapping[str, Any]) -> DDIMScheduler:
    """One that noises, gives velocities and samples, with another scheduler's noise levels."""
    return DDIMScheduler.from_config(dict(config) | {"clip_sample": False})


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


# Random weights: full size without a download

SD_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
XL_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
SD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TINY_TEXT = {
    "vocab_size": 514,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 32,
}
TINY_VAE = SD_VAE | {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
TINY_UNET = {
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": (2, 4),
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
}


@dataclass(frozen=True)
class Shape:
    """The published sizes of a base model, as the arguments of its classes."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text: tuple[Mapping[str, Any], ...]


SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(
        {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        SD_VAE | {"scaling_factor": 0.18215},
        (SD_TEXT,),
    ),
    "sdxl": Shape(
        {
            "sample_size": 128,
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        SD_VAE | {"scaling_factor": 0.13025, "sample_size": 1024},
        (SD_TEXT, XL_TEXT),
    ),
    "tiny": Shape(TINY_UNET | {"cross_attention_dim": 32}, TINY_VAE, (TINY_TEXT,)),
    "tiny-xl": Shape(
        TINY_UNET
        | {
            "cross_attention_dim": 80,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 48,
        },
        TINY_VAE,
        (TINY_TEXT, TINY_TEXT | {"hidden_size": 48, "projection_dim": 48, "hidden_act": "gelu"}),
    ),
}


def random_base(name: str, dtype: torch.dtype) -> Base:
    """A base model of a published shape with random weights, always the same ones: it proves memory and speed."""
    if name not in SHAPES:
        raise UserError(f"base.source: no shape is called {name!r}; random: has {', '.join(SHAPES)}")
    tokenizer = byte_tokenizer()
    vae, unet, text = empty_parts(SHAPES[name], tokenizer)
    config = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    return Base(
        vae=filled(vae, torch.float32),
        unet=filled(unet, dtype),
        text_encoders=tuple(filled(one, dtype) for one in text),
        tokenizers=(tokenizer,) * len(text),
        scheduler=_scheduler(config),
    )


def empty_parts(shape: Shape, tokenizer: Any) -> tuple[Any, Any, list[Any]]:
    """Autoencoder, U-Net and text models on the meta device."""
    ids = {f"{end}_token_id": getattr(tokenizer, f"{end}_token_id") for end in ("bos", "eos", "pad")}
    kinds = (CLIPTextModel, CLIPTextModelWithProjection)
    with torch.device("meta"):
        text = [kind(CLIPTextConfig(**one, **ids)) for kind, one in zip(kinds, shape.text, strict=False)]
        return AutoencoderKL(**shape.vae), UNet2DConditionModel(**shape.unet), text


def byte_tokenizer() -> CLIPTokenizer:
    """A tokenizer in CLIP's form whose words are single bytes: any text, no file from anywhere."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def filled(module: Any, dtype: torch.dtype) -> Any:
    """A module of the meta device in memory, without the minutes of a proper initialisation: matrices of one stretch of
    noise, again and again from another place, scaled by their inputs; norms 1, biases 0."""
    module = nn.Module.to(module, dtype).to_empty(device="cpu")  # (diffusers' own `to` warns of what it does not keep)
    noise = torch.randn(65537, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("position_ids"):
                tensor.copy_(torch.arange(tensor.numel()).view_as(tensor))
            elif tensor.ndim > 1:
                own = (noise.roll(zlib.crc32(name.encode()) % len(noise)) * 0.5 * tensor[0].numel() ** -0.5).to(dtype)
                whole = tensor.numel() // len(own) * len(own)
                tensor.view(-1)[:whole].view(-1, len(own)).copy_(own)
                tensor.view(-1)[whole:].copy_(own[: tensor.numel() - whole])
            else:
                tensor.fill_(float(name.endswith(("weight", "var"))))
    return module


# The face encoder

ENCODERS: Mapping[str, TransFaceConfig] = {
    "transface-s": TransFaceConfig(),
    "tiny": TransFaceConfig(patch_size=28, width=32, depth=1, heads=2, embedding_size=16),
}


def open_encoder(source: str, *, bundle: Path) -> TransFace:
    """The face encoder that the settings name (see `NewAdapter`), frozen, in float32.

    UserError: no such one, a broken one."""
    if source.startswith("random:"):
        name = source.removeprefix("random:")
        if name not in ENCODERS:
            raise UserError(f"adapter.encoder: no shape is called {name!r}; random: has {', '.join(ENCODERS)}")
        with torch.device("meta"):
            empty = TransFace(ENCODERS[name])
        encoder = filled(empty, torch.float32)
    elif source == BUNDLE:
        encoder = _encoder_in(bundle / ADAPTER)
    elif Path(source).expanduser().is_dir():
        encoder = _encoder_in(Path(source).expanduser())
    elif Path(source).expanduser().is_file():
        encoder = encoder_from_state(checkpoint.load_torch(Path(source).expanduser()), source=source)
    elif HUB_ID.fullmatch(source):
        encoder = FaceAdapter.from_pretrained(source).encoder
    else:
        raise UserError(f"adapter.encoder: {source!r} is no file or directory here, no hub id, bundle or random:...")
    return encoder.requires_grad_(False).eval()


def _encoder_in(directory: Path) -> TransFace:
    """Of a FaceAdapter's directory, or of one that holds a TransFace alone."""
    if checkpoint.read_config(directory).get("format") == FORMAT:
        return FaceAdapter.from_pretrained(directory).encoder
    return load_transface(directory)


# What the frozen parts make


def in_low_precision(base: Base) -> AbstractContextManager[Any]:
    """Bf16 arithmetic where the base model is in bf16 (about 0.5 % of error in latents and tokens); fp16 would overflow
    in SDXL's autoencoder."""
    return torch.autocast(base.vae.device.type, torch.bfloat16, enabled=base.unet.dtype == torch.bfloat16)


@torch.no_grad()
def encode_pictures(base: Base, images: Tensor) -> Tensor:
    """(n, 3, h, w) in [-1, 1] -> (n, c, h / factor, w / factor) float32 latents as the U-Net reads them: the mode of
    the posterior, shifted and scaled."""
    vae, config = base.vae, base.vae.config
    with in_low_precision(base):
        images = images.to(vae.device, vae.dtype, memory_format=torch.channels_last)
        mode = vae.encode(images).latent_dist.mode().float()
    return ((mode - (config.shift_factor or 0.0)) * config.scaling_factor).contiguous()


def token_ids(base: Base, captions: Sequence[str]) -> Tensor:
    """n captions -> (n, length) of the one text model, (n, 2, length) of SDXL's; padded, longer ones cut."""
    rows = [
        tokenizer(
            list(captions),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        for tokenizer in base.tokenizers
    ]
    return torch.stack(rows, dim=1) if base.is_xl else rows[0]


@torch.no_grad()
def encode_ids(base: Base, ids: Tensor) -> tuple[Tensor, Tensor | None]:
    """What `token_ids` made -> (n, length, width) states of the text model in its type, and None; of SDXL's two models
    the states before the last layer side by side, and (n, width) of the second one's summary."""
    ids = ids.to(base.text_encoders[0].device)
    if not base.is_xl:
        return base.text_encoders[0](ids)[0], None
    first, second = (one(ids[:, i], output_hidden_states=True) for i, one in enumerate(base.text_encoders))
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def encode_text(base: Base, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """The states (and summaries) of captions: see `encode_ids`."""
    return encode_ids(base, token_ids(base, captions))


@torch.no_grad()
def encode_faces(frozen: Frozen, heads: Tensor) -> Tensor:
    """(n, 3, 112, 112) aligned, masked heads in [-1, 1] -> (n, tokens, width) float32."""
    weight = frozen.encoder.pos_embed
    with in_low_precision(frozen):
        return frozen.encoder(heads.to(weight.device, weight.dtype)).float()


@contextmanager
def on_device(frozen: Frozen, device: torch.device | str) -> Iterator[Frozen]:
    """Autoencoder, text models and encoder on a device for as long as a cache is filled; the U-Net stays."""
    parts = (frozen.vae, frozen.encoder, *frozen.text_encoders)
    before = frozen.device
    try:
        for part in parts:
            part.to(device)
        yield frozen
    finally:
        for part in parts:
            part.to(before)
