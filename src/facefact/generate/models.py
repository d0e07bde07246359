"""Where models lie and how they are opened: a directory, the models directory, or (only when asked) the hub."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError

from facefact import checkpoint, hub
from facefact.generate.single_file import open_file
from facefact.types import UserError

TEXTS = (".json", ".txt", ".model", ".md")
WEIGHTS = (".safetensors", ".bin")
STYLES = "styles"  # the folder of the user's styles, which is no model
SOURCES = "sources.json"  # where the files of a published model came from, and their licences
# What the libraries raise on files that are broken, cut off, of other shapes, or pickles of more than tensors.
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Listed:
    """One model of the models directory. size: bytes on disk. licence: as its README says, else ""."""

    name: str
    path: Path
    kind: str
    size: int
    licence: str


def models_dir() -> Path:
    """$FACEFACT_HOME, or ~/.cache/facefact (it need not exist)."""
    return Path(os.environ.get("FACEFACT_HOME") or "~/.cache/facefact").expanduser()


def locate(name: str, *, offline: bool = False) -> Path:
    """Where a model is: `name` is a directory, a one-file checkpoint, a name in the models directory, or a hub id
    (owner/name).

    A hub id that is not there yet is pulled, unless offline. UserError: none of these.
    """
    if name and Path(name).expanduser().exists():
        return Path(name).expanduser()
    stored = models_dir() / name.replace("/", "--")
    if name and stored.is_dir():
        return stored
    if not hub.is_hub_id(name):
        raise UserError(
            f"no model {name!r}: give a directory, a .safetensors file, a name from `facefact models list` or a hub id "
            "(`facefact models pull facechain-fact` fetches the published model for photos)"
        )
    if offline:
        raise UserError(f"the model {name} is not in {models_dir()}, and --offline forbids to fetch it")
    return pull(name)


def pull(hub_id: str) -> Path:
    """Fetches a pipeline or an adapter from the hub into the models directory, whole or not at all."""
    from huggingface_hub import HfApi, snapshot_download

    goal = models_dir() / hub_id.replace("/", "--")
    partial = goal.with_name(goal.name + ".partial")
    with hub.errors(f"cannot pull {hub_id} from the hub"):
        files = wanted(HfApi().list_repo_files(hub_id))
        snapshot_download(hub_id, local_dir=partial, allow_patterns=files)
    partial.rename(goal)
    return goal


def wanted(files: Sequence[str]) -> list[str]:
    """Of a repository's files those to fetch: texts, and of each folder's weights one set.

    A folder's set is the one without a variant, else fp16's, else that of the first variant by name; of one set the
    safetensors rather than the .bin. A pipeline's components lie in folders: weights beside its model_index.json are
    other formats of the same model.
    """
    chosen = [name for name in files if name.endswith(TEXTS) or PurePosixPath(name).name.startswith("LICENSE")]
    folders: dict[PurePosixPath, list[str]] = {}
    for name in files:
        if name.endswith(WEIGHTS):
            folders.setdefault(PurePosixPath(name).parent, []).append(name)
    if "model_index.json" in files:
        folders.pop(PurePosixPath("."), None)
    for weights in folders.values():
        first = min(weights, key=_preference)
        chosen += [name for name in weights if _preference(name) == _preference(first)]
    return sorted(chosen)


def _preference(name: str) -> tuple[bool, bool, str, bool]:
    """Sorts a folder's weights by what is wanted most; equal for the parts of one set."""
    variant = variant_of(name)
    return variant != "", variant != "fp16", variant, not name.endswith(".safetensors")


def variant_of(name: str) -> str:
    """ "fp16" of unet/diffusion_pytorch_model.fp16[-00001-of-00002].safetensors; "" of diffusion_pytorch_model[...]."""
    suffixes = PurePosixPath(name).suffixes
    return re.sub(r"-\d+-of-\d+$", "", suffixes[-2].removeprefix(".")) if len(suffixes) > 1 else ""


def variant_in(directory: Path) -> str | None:
    """The variant that a pipeline directory must be opened with, because some component has no other weights."""
    files = [path.relative_to(directory).as_posix() for path in directory.glob("*/*") if path.suffix in WEIGHTS]
    variants = {variant_of(name) for name in wanted(["model_index.json", *files]) if name.endswith(WEIGHTS)}
    return min(variants - {""}, default=None)


def list_models(directory: Path | None = None) -> Iterator[Listed]:
    """What is in the models directory, by name."""
    directory = models_dir() if directory is None else directory
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.is_dir() and path.suffix != ".partial" and not path.name.startswith(".") and path.name != STYLES:
            yield describe(path)


def describe(path: Path, *, name: str | None = None) -> Listed:
    """Kind, size and licence of one model directory."""
    kinds = {"model_index.json": "pipeline", "config.json": "adapter"}
    kind = next((kind for name, kind in kinds.items() if (path / name).is_file()), "?")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Listed(name=name or path.name.replace("--", "/"), path=path, kind=kind, size=size, licence=_licence(path))


def _licence(path: Path) -> str:
    """As the places say that it was fetched from, else `license: x` of the front matter of its model card."""
    sources = path / SOURCES
    if sources.is_file():
        licences = json.loads(sources.read_text(encoding="utf-8"))["licences"]
        return ", ".join(dict.fromkeys(one for one in licences.values() if one))
    card = path / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"^license:\s*(\S+)", text, flags=re.MULTILINE)
    return found.group(1) if found else ""


def load_base(source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """The diffusers pipeline in a directory or a one-file checkpoint, on the device, silent. Opens no network
    connection.

    UserError: it holds no pipeline, or a broken one.
    """
    source = Path(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # newer releases call it dtype, older ones cannot
            pipe = open_file(source, dtype=dtype) if source.is_file() else _open_directory(source, dtype=dtype)
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot open the pipeline {source}: {one_line(error)}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _open_directory(directory: Path, *, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    if not (directory / "model_index.json").is_file():
        raise UserError(f"{directory} is no diffusers pipeline: it has no model_index.json")
    for pickled in directory.glob("*/*.bin"):
        checkpoint.refuse_to_inflate(pickled)
    variant = variant_in(directory)
    return DiffusionPipeline.from_pretrained(str(directory), torch_dtype=dtype, variant=variant, local_files_only=True)


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def native_size(pipe: Any) -> int:
    """The side of the pictures, in pixels, that the pipeline's U-Net was trained for."""
    sample = pipe.unet.config.sample_size
    return int(sample if isinstance(sample, int) else min(sample)) * int(pipe.vae_scale_factor)
