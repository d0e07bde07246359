"""Weights on disk: safetensors beside a config.json, written atomically, read strictly.

A directory that this module wrote can be read without running anything that the file brings along. Foreign torch files
are read with `weights_only=True` only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.files import replacing as replacing
from facefact.types import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
ROOM = 1 << 20  # bytes by which a small torch file may be compressed after all


def save(directory: str | Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write tensors and config into a directory (made if need be). A reader never sees half a file."""
    from safetensors.torch import save_file

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / WEIGHTS) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary)
    with replacing(directory / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(directory: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save` wrote: tensors on the CPU, and the config. UserError when a file is missing or broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(directory)
    config = read_config(directory)
    path = directory / WEIGHTS
    if not path.is_file():
        raise UserError(f"{directory} has no {WEIGHTS}")
    try:
        return load_file(path), config
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file: {_line(error)}") from error


def read_config(directory: str | Path) -> dict[str, Any]:
    """The config.json of a directory. UserError when it is missing or no JSON object."""
    path = Path(directory) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{directory} has no {CONFIG}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {_line(error)}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is not a JSON object")
    return config


def load_torch(path: str | Path) -> dict[str, Tensor]:
    """A foreign torch file that holds a flat state dict, on the CPU; never unpickles anything but tensors."""
    import torch

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    refuse_to_inflate(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a torch file of plain tensors: {_line(error)}") from error
    if not isinstance(state, dict) or not all(torch.is_tensor(tensor) for tensor in state.values()):
        raise UserError(f"{path} is not a flat dictionary of tensors")
    return state


def refuse_to_inflate(path: Path) -> None:
    """UserError: a torch file that says to be far larger than it is (a zip bomb). torch stores tensors as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            inflated = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # an old torch file, or a broken one: its reader says so
    if inflated > 2 * path.stat().st_size + ROOM:
        raise UserError(
            f"{path} would inflate to {inflated / 1e6:.0f} MB: torch writes no such files, it is not opened"
        )


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Put the state into the module, which may lie on the meta device. Every key and shape must agree, or UserError
    names the first keys that do not. dtype: of the floating tensors; None keeps the state's."""
    own = module.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    problems = [f"lacks {_names(missing)}"] * bool(missing) + [f"has unknown {_names(unknown)}"] * bool(unknown)
    if shapes:
        first, more = shapes[0], f" and {len(shapes) - 1} more differ" if shapes[1:] else ""
        problems.append(f"{first} is {_shape(state[first])}, expected {_shape(own[first])}{more}")
    if problems:
        raise UserError(f"{source} does not fit: {'; '.join(problems)}")
    module.load_state_dict(
        {name: state[name].to(dtype) if state[name].is_floating_point() else state[name] for name in own}, assign=True
    )


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hexadecimal) of names, types, shapes and values; the order and the device do not matter."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder that one process at a time works in; the kernel gives it back whatever this process dies of.
    UserError: another has it, or it cannot be written to.

    A record lock: unlike flock's, child processes do not inherit it, so that one of them that outlives a killed parent
    by a second does not keep the folder.
    """
    try:
        import fcntl
    except ImportError:  # no such lock on Windows
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}): give another folder") from error
    with lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another process works in {folder}: wait for it, or give another folder") from error
        yield
