"""Parts of an opened pipeline that the user exchanges or adds: the autoencoder, the scheduler, LoRAs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from facefact.generate.models import UNREADABLE, one_line
from facefact.generate.recipe import file_hash, model_hash
from facefact.generate.single_file import check_whole, header, open_autoencoder
from facefact.types import UserError

SIZES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)")


@dataclass(frozen=True)
class Lora:
    """A LoRA file and how much it counts."""

    file: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Lora:
        """FILE or FILE:WEIGHT. UserError: there is no such file."""
        name, colon, weight = text.rpartition(":")
        if colon and not Path(text).is_file():
            try:
                return cls(_there(name), float(weight))
            except ValueError as error:
                if isinstance(error, UserError):
                    raise
        return cls(_there(text))


def _there(name: str) -> Path:
    file = Path(name).expanduser()
    if not file.is_file():
        raise UserError(f"no LoRA {name}: give FILE.safetensors or FILE.safetensors:WEIGHT")
    return file


def add_loras(pipe: Any, loras: Sequence[Lora]) -> list[dict[str, Any]]:
    """Loads and weighs them; what the recipe says of each. UserError: not whole, or made for another model."""
    if not loras:
        return []
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UserError("--lora needs the package peft: pip install 'facefact[lora]'") from None
    names = [f"lora{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        header(lora.file)
        try:
            pipe.load_lora_weights(
                str(lora.file.parent), weight_name=lora.file.name, adapter_name=name, local_files_only=True
            )
        except UNREADABLE as error:
            raise UserError(f"the LoRA {lora.file} does not fit this model: {_in_short(error)}") from error
        if not any(name in there for there in pipe.get_list_adapters().values()):
            raise UserError(f"the LoRA {lora.file} changes nothing in this model: it is made for another kind")
    pipe.set_adapters(names, adapter_weights=[lora.weight for lora in loras])
    return [{"name": lora.file.name, "sha256": file_hash(lora.file), "weight": lora.weight} for lora in loras]


def _in_short(error: Exception) -> str:
    """What PyTorch says of sizes on half a page, in a line."""
    found = SIZES.search(str(error))
    return one_line(error) if found is None else f"{found[1]} is {found[2]} in it, and {found[3]} in the model"


def exchange_scheduler(pipe: Any, name: str) -> None:
    """By the name of diffusers' class, with or without "Scheduler"; it takes over the model's own settings.

    UserError: no such scheduler, or none that works with this model; it names the nearest.
    """
    import diffusers

    names = {kind.__name__ for kind in pipe.scheduler.compatibles} | {"LCMScheduler", "TCDScheduler"}
    known = {_plain(one): one for one in names}
    if _plain(name) not in known:
        nearest = max(sorted(known), key=lambda one: (_likeness(_plain(name), one), -len(one)))
        raise UserError(f"no scheduler {name!r}: did you mean {known[nearest]}? There are {', '.join(sorted(names))}")
    try:
        pipe.scheduler = getattr(diffusers, known[_plain(name)]).from_config(pipe.scheduler.config)
    except (ImportError, ValueError, NotImplementedError) as error:
        raise UserError(f"the scheduler {name} does not work with this model: {one_line(error)}") from error


def _plain(name: str) -> str:
    return name.lower().removesuffix("scheduler")


def _likeness(typed: str, name: str) -> float:
    """Also of a name that is typed in part: Eulr is nearer to EulerDiscrete than to EDMEuler."""
    return max(SequenceMatcher(None, typed, part).ratio() for part in (name, name[: len(typed) + 1]))


def exchange_autoencoder(pipe: Any, source: str | Path) -> dict[str, Any]:
    """From a directory of diffusers (a pipeline's, or an autoencoder's own) or one .safetensors file; what the recipe
    says of it. UserError: it is neither, or its latents are not this model's."""
    path = Path(source).expanduser()
    try:
        vae = _from_directory(path, pipe) if path.is_dir() else _from_file(path, pipe)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot open the autoencoder {source}: {one_line(error)}") from error
    channels, wanted = vae.config.latent_channels, pipe.vae.config.latent_channels
    if channels != wanted:
        raise UserError(f"the autoencoder {source} has {channels} latent channels, this model {wanted}")
    pipe.vae = vae.to(pipe.vae.device)
    return {"name": path.name, "sha256": content_hash(path)}


def content_hash(path: Path) -> str:
    """SHA-256 of a model, which is a file or a directory, in hex."""
    return file_hash(path) if path.is_file() else model_hash(path)


def _from_directory(path: Path, pipe: Any) -> Any:
    import diffusers

    path = path / "vae" if (path / "vae").is_dir() else path
    config = path / "config.json"
    if not config.is_file():
        raise UserError(f"{path} is no autoencoder of diffusers: it has no config.json")
    kind = getattr(diffusers, json.loads(config.read_text(encoding="utf-8")).get("_class_name", ""), None)
    if kind is None or not hasattr(kind, "decode"):
        raise UserError(f"{config} is of no autoencoder that diffusers knows")
    vae = kind.from_pretrained(str(path), torch_dtype=pipe.vae.dtype, local_files_only=True)
    check_whole(vae, file=path, name="autoencoder")
    return vae


def _from_file(path: Path, pipe: Any) -> Any:
    if not path.is_file():
        raise UserError(f"no autoencoder {path}: give a directory or a .safetensors file")
    return open_autoencoder(path, like=pipe.vae, dtype=pipe.vae.dtype)
