"""One-file checkpoints (.safetensors in the layout of the first Stable Diffusion code, as CivitAI has them), offline.

Such a file holds weights alone. The configs come from `single_file.json`, the tokenizer from `clip/`; diffusers
translates the weights' names.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from facefact.types import UserError

HERE = Path(__file__).parent
Configs = dict[str, dict[str, Any]]  # file inside a pipeline's directory -> its content

UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
SD_TEXT_KEYS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
SDXL_TEXT = "conditioner.embedders.1.model.positional_embedding"
PREFIXES = {"unet": ("model.diffusion_model.",), "vae": ("first_stage_model.", "vae.")}  # translated one to one
TEXT_WIDTHS = {768: "sd15", 1024: "sd2"}
OTHERS = {  # what else comes as one .safetensors: a part of a key that gives it away
    "lora_": "a LoRA: give it with --lora",
    ".lora": "a LoRA: give it with --lora",
    "decoder.conv_in.weight": "an autoencoder: give it with --vae",
}


def open_file(file: Path, *, dtype: torch.dtype, configs: Configs | None = None) -> Any:
    """The diffusers pipeline in a one-file checkpoint of SD1.5, SD2 or SDXL (or one of their inpainting models).

    configs: of a pipeline of other sizes. UserError: another file, or one that is not whole.
    """
    import diffusers

    shapes, about = header(file)
    configs = adapted(configs or known(kind_of(shapes, file=file)), shapes, about)
    with TemporaryDirectory() as folder:
        write_configs(Path(folder), configs)
        pipeline = getattr(diffusers, configs["model_index.json"]["_class_name"])
        with _reading(file):
            pipe = pipeline.from_single_file(str(file), config=folder, torch_dtype=dtype, local_files_only=True)
    for name, part in pipe.components.items():
        if isinstance(part, nn.Module):
            check_whole(part, file=file, name=name, given=_count(shapes, PREFIXES.get(name)))
    return pipe


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Without diffusers' remarks on casts and on entries that no component reads (EMA weights, position numbers); where
    the weights of a component are missing, a UserError."""
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    logger = logging.getLogger("diffusers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except SingleFileComponentError as error:
        raise UserError(f"cannot open {file}: {str(error).splitlines()[0]}") from error
    except NotImplementedError as error:  # a cast of weights that have no memory
        raise UserError(f"cannot open {file}: it lacks weights") from error
    finally:
        logger.setLevel(level)


def header(file: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Shapes and free metadata of a safetensors file, without reading a weight. UserError: it is none, or cut off."""
    try:
        with safe_open(file, framework="pt") as opened:
            shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 (no mapping)
            return shapes, opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file} is not a whole .safetensors file ({error}); a .ckpt or .pt is a pickle, which is not opened here"
        ) from error


def kind_of(shapes: Mapping[str, list[int]], *, file: Path) -> str:
    """ "sd15", "sd2" or "sdxl". UserError: none of them; it says what the file is, if that is known."""
    if UNET_IN in shapes:
        kind = "sdxl" if SDXL_TEXT in shapes else TEXT_WIDTHS.get(shapes.get(SD_TEXT_KEYS, [0])[-1])
        if kind:
            return kind
    what = next((what for part, what in OTHERS.items() if any(part in key for key in shapes)), "")
    raise UserError(f"{file} is no one-file checkpoint of SD1.5, SD2 or SDXL" + (f" but {what}" if what else ""))


def known(kind: str) -> Configs:
    return json.loads((HERE / "single_file.json").read_text(encoding="utf-8"))[kind]


def adapted(configs: Configs, shapes: Mapping[str, list[int]], about: Mapping[str, str]) -> Configs:
    """The configs of this very file: an inpainting U-Net has more channels; what the model predicts is said by the
    metadata (`modelspec.*`, SD2) or by an entry called v_pred (SDXL)."""
    configs = {name: dict(config) for name, config in configs.items()}
    unet, scheduler = configs["unet/config.json"], configs["scheduler/scheduler_config.json"]
    unet["in_channels"] = shapes[UNET_IN][1]
    if unet["in_channels"] == 9:
        index = configs["model_index.json"]
        index["_class_name"] = index["_class_name"].replace("Pipeline", "InpaintPipeline")
    prediction = about.get("modelspec.prediction_type", "")
    if "v_pred" in shapes or prediction.startswith("v"):
        scheduler["prediction_type"] = "v_prediction"
        if "ztsnr" in shapes:
            scheduler.update(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    elif prediction.startswith("eps"):
        scheduler["prediction_type"] = "epsilon"
    if about.get("modelspec.architecture", "").startswith("stable-diffusion-v2-512"):
        unet["sample_size"], scheduler["prediction_type"] = 64, "epsilon"
    return configs


def write_configs(folder: Path, configs: Configs) -> None:
    """A pipeline's directory without weights. A tokenizer of which no file is there is CLIP's."""
    for name, config in configs.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config), encoding="utf-8")
    for tokenizer in folder.glob("tokenizer*"):
        if not (tokenizer / "tokenizer.json").is_file():
            merges = gzip.decompress((HERE / "clip" / "merges.txt.gz").read_bytes()).decode("utf-8")
            (tokenizer / "merges.txt").write_text(merges, encoding="utf-8")
            (tokenizer / "vocab.json").write_text(json.dumps(vocabulary(merges)), encoding="utf-8")


def vocabulary(merges: str) -> dict[str, int]:
    """CLIP's tokens by number: the bytes, the bytes that end a word, the merges in their order, start and end."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(one) for one in printable]
    letters += [chr(256 + i) for i in range(256 - len(printable))]  # stand-ins for bytes that cannot be printed
    words = ["".join(line.split()) for line in merges.splitlines()[1:]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *words, "<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}


def open_autoencoder(file: Path, *, like: Any, dtype: torch.dtype) -> Any:
    """The AutoencoderKL in a one-file checkpoint, of the same sizes as `like`. UserError: it does not hold one."""
    from diffusers import AutoencoderKL

    header(file)
    with TemporaryDirectory() as folder:
        like.save_config(folder)
        with _reading(file):
            vae = AutoencoderKL.from_single_file(str(file), config=folder, torch_dtype=dtype, local_files_only=True)
    check_whole(vae, file=file, name="autoencoder")
    return vae


def _count(shapes: Mapping[str, list[int]], prefixes: tuple[str, ...] | None) -> int | None:
    return None if prefixes is None else sum(key.startswith(prefixes) for key in shapes)


def check_whole(module: nn.Module, *, file: Path, name: str, given: int | None = None) -> None:
    """UserError where weights stayed without a value, of which diffusers says nothing: with accelerate they may have no
    memory, without it they are random numbers. given: how many tensors the file has for the module, None if unknown."""
    state = module.state_dict()
    missing = [key for key, value in state.items() if value.is_meta]
    if missing or (given is not None and given < len(state)):
        example = f" ({missing[0]}, ...)" if missing else ""
        raise UserError(f"{file} lacks {len(missing) or len(state) - (given or 0)} weights of the {name}{example}")
