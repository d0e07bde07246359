"""Parts that an open pipeline has for a while: another scheduler, LoRAs; after that it is as it was, bit for bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from facefact.generate.licences import brief, licence_of, refuse_unfree
from facefact.generate.models import STYLES, models_dir
from facefact.generate.parts import Lora, add_loras, exchange_scheduler
from facefact.generate.single_file import header
from facefact.types import UserError

REMEDY = "take one that was made for this model, or leave it out"


@contextlib.contextmanager
def borrowed_parts(
    pipe: Any,
    origin: Mapping[str, Any],
    *,
    scheduler: str | None = None,
    loras: Sequence[Lora] = (),
    own: Sequence[Lora] = (),
    strict_licences: bool = False,
) -> Iterator[dict[str, Any]]:
    """Inside, the pipeline has another scheduler, and these LoRAs besides its own; yields its origin then, for recipes.

    own: those that it was opened with. strict_licences: refuse LoRAs whose licence forbids commercial use, or is not
    known. UserError: no such scheduler, or a LoRA that does not fit; the pipeline is as it was then too.
    """
    stated = [licence_of("lora", lora.file.name, lora.file) for lora in loras]
    if strict_licences:
        refuse_unfree(stated)
    before, said = pipe.scheduler, {**origin, "model": dict(origin.get("model", {}))}
    try:
        if scheduler is not None:
            exchange_scheduler(pipe, scheduler)
            said["scheduler"] = type(pipe.scheduler).__name__
        if loras:
            _exchange_loras(pipe, [*own, *loras], said)
            said["licences"] = {**origin.get("licences", {}), **brief(stated)}
        yield said
    finally:
        pipe.scheduler = before
        if loras:
            pipe.unload_lora_weights()
            add_loras(pipe, own)


def _exchange_loras(pipe: Any, loras: Sequence[Lora], said: dict[str, Any]) -> None:
    if said["model"].get("loras"):
        pipe.unload_lora_weights()
    try:
        said["model"]["loras"] = add_loras(pipe, loras)
    except UserError as error:
        raise UserError(f"{error}; {REMEDY}") from error


def named_loras() -> dict[str, Path]:
    """The user's LoRAs by the names of their files: those that lie in the models directory, and beside the styles."""
    found: dict[str, Path] = {}
    for folder in (models_dir(), models_dir() / STYLES):
        for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
            if is_lora(path):
                found.setdefault(path.name, path)
    return found


def is_lora(path: Path) -> bool:
    """Whether it is a safetensors file whose entries are called as a LoRA's are."""
    with contextlib.suppress(UserError):
        return any("lora" in name.lower() for name in header(path)[0])
    return False


def named_lora(name: str) -> Path:
    """UserError: there is none of that name; it says where to put it."""
    known = named_loras()
    if name not in known:
        there = ", ".join(known) or "none yet"
        where = "the models directory ($FACEFACT_HOME, or ~/.cache/facefact)"
        raise UserError(f"there is no LoRA {name} here ({there}): put the file into {where}, or send it")
    return known[name]
