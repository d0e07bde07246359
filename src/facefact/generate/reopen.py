"""What a picture's recipe says it was made with, opened again: base model, adapter, autoencoder, LoRAs, scheduler.

A recipe names its parts without saying where they lie. They are looked for by name beside the picture, in the present
directory, in the models directory and among its styles, never on the network, and are the recipe's only if their hashes
are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from facefact import hub
from facefact.demo import DEMO
from facefact.generate.models import STYLES, models_dir
from facefact.generate.parameters import plain_name
from facefact.generate.parts import content_hash
from facefact.types import UserError

Part = Mapping[str, Any]  # its name, its SHA-256 (or the first digits of it) and, of a LoRA, its weight
DIGITS = re.compile("[0-9a-f]{10,64}")
OPTIONS = {"vae": "--vae", "model": "--model", "adapter": "--adapter"}
CALLED = {"vae": "the autoencoder", "model": "the model", "adapter": "the adapter", "loras": "the LoRAs"}


def parts_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Of a recipe, or of a Studio's origin: model, adapter, vae (None: the model's own) and loras (a list, maybe
    empty). Without the model nothing is known of vae and loras. UserError: the recipe is damaged."""
    found = {name: recipe[name] for name in ("model", "adapter") if recipe.get(name)}
    if isinstance(model := found.get("model"), Mapping):
        found |= {"vae": model.get("vae"), "loras": model.get("loras") or []}
    loras = found.get("loras", [])
    parts = [*loras, *(found[name] for name in ("model", "adapter", "vae") if found.get(name))]
    if not (isinstance(loras, list) and all(map(_is_part, parts)) and all("weight" in one for one in loras)):
        raise UserError("the recipe is damaged: what it says of the model, and of what was added to it, makes no sense")
    return found


def _is_part(part: Any) -> bool:
    if not isinstance(part, Mapping) or not isinstance(part.get("weight", 1.0), int | float):
        return False
    return isinstance(part.get("name"), str) and DIGITS.fullmatch(str(part.get("sha256"))) is not None


def as_it_was(recipe: Mapping[str, Any], *, near: Path, given: Collection[str]) -> dict[str, Any]:
    """Keyword arguments of `Studio.open` for what the recipe was made with. near: the folder of its picture. given:
    those of these arguments that the user has given already; they go before the recipe.

    UserError, which names it: a part is not here, or is another one.
    """
    parts, places = parts_of(recipe), [near, Path(), models_dir(), models_dir() / STYLES]
    opened: dict[str, Any] = {}
    if "model" in parts:
        opened["model"] = _model(parts["model"], places, "model", needed="model" not in given)
    if "adapter" in parts and plain_name(parts["adapter"]["name"]) != plain_name(
        parts.get("model", {}).get("name", "")
    ):
        opened["adapter"] = _model(parts["adapter"], places, "adapter", needed="adapter" not in given)
    if parts.get("vae") and "vae" not in given:
        opened["vae"] = _file(parts["vae"], places, "vae", f"name it with {OPTIONS['vae']}")
    if parts.get("loras") and "loras" not in given:
        typed = " ".join(f"--lora {one['name']}:{one['weight']:g}" for one in parts["loras"])
        mending = f"say where it lies, and all others too: {typed}"
        opened["loras"] = [f"{_file(one, places, 'LoRA', mending)}:{one['weight']!r}" for one in parts["loras"]]
    if recipe.get("scheduler"):
        opened["scheduler"] = recipe["scheduler"]
    return {name: value for name, value in opened.items() if value is not None and name not in given}


def check_same(recipe: Mapping[str, Any], origin: Mapping[str, Any], *, given: Collection[str]) -> None:
    """After opening. UserError: a part that nobody replaced is another one than the recipe's. (Who gives another model
    gives the adapter inside of it too.)"""
    said, here = parts_of(recipe), parts_of(origin)
    replaced = {*given, "adapter"} if "model" in given else set(given)
    for name in sorted(said.keys() - replaced):
        if not same(said[name], here.get(name)):
            option = OPTIONS.get(name, "--lora")
            raise UserError(
                f"{CALLED[name]} is not what the recipe says ({_brief(said[name])}): "
                f"give the right one, or another that you want instead, with {option}"
            )


def same(said: Any, here: Any) -> bool:
    """Whether a part, or a list of them, is the one that a recipe names, whose hash may be cut short."""
    if isinstance(said, list):
        return isinstance(here, list) and len(said) == len(here) and all(map(same, said, here))
    if not said or not here:
        return not said and not here
    return here["sha256"].startswith(said["sha256"]) and said.get("weight") == here.get("weight")


def _model(part: Part, places: list[Path], kind: str, *, needed: bool) -> str | None:
    """What `models.locate` finds it by; its hash is compared when it is open."""
    name = part["name"]
    if not needed or (kind == "model" and name == DEMO):
        return name if needed else None
    stored = name.replace("/", "--")
    if any(path.name == stored for path in _called(stored, [models_dir()])):
        return name
    found = next((path for path in _called(name, places) if path.is_dir() or path.suffix == ".safetensors"), None)
    if found is None:
        mending = f"`facefact models pull {name}`, or " if hub.is_hub_id(name) else ""
        raise UserError(f"{_missing(CALLED[kind], part, places)}: {mending}name it with {OPTIONS[kind]}")
    return str(found)


def _file(part: Part, places: list[Path], kind: str, mending: str) -> Path:
    """The one with the recipe's name and hash."""
    called = CALLED.get(kind, f"the {kind}")
    there = list(_called(part["name"], places))
    for path in there:
        if content_hash(path).startswith(part["sha256"]):
            return path
    if there:
        raise UserError(
            f"{there[0]} is not {called} of the recipe ({_brief(part)}): its contents are others; {mending}"
        )
    raise UserError(f"{_missing(called, part, places)}: {mending}")


def _called(name: str, places: list[Path]) -> Iterator[Path]:
    """Whatever has the name, of which a recipe may have lost the ending, in the places. (Only what lies in them: names
    come out of pictures, and pictures from anywhere.)"""
    wanted = plain_name(name)
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if plain_name(path.name) == wanted:
                yield path


def _missing(called: str, part: Part, places: list[Path]) -> str:
    searched = ", ".join(dict.fromkeys(str(place.expanduser().absolute()) for place in places))
    return f"{called} that made the picture, {_brief(part)}, is not in {searched}"


def _brief(part: Any) -> str:
    if isinstance(part, list):
        return ", ".join(map(_brief, part)) or "none"
    return f"{part['name']}, SHA-256 {part['sha256'][:10]}" if part else "the model's own"
