"""Under which licences the parts of a model are, and whether those allow commercial use.

This is what model cards and files say of themselves: a passport, not advice. What nobody states is "unknown".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facefact import demo
from facefact.demo import DEMO
from facefact.faces import Detector
from facefact.generate.models import SOURCES, locate
from facefact.generate.parts import Lora
from facefact.generate.single_file import header
from facefact.types import UserError

CARD = "README.md"
STATED = ("modelspec.license", "license", "licence")  # in the header of a safetensors file
# Names as the hub's model cards write them. (An OpenRAIL licence allows commercial use and restricts what for.)
FREE = re.compile(
    r"apache-2\.0|mit|bsd(-\dclause\S*)?|isc|zlib|unlicense|cc0-1\.0|cc-by(-sa)?-\d\.\d|wtfpl|bsl-1\.0|"
    r"(creativeml-|bigscience-|bigcode-)?openrail(\+\+|-m|-plus\S*)?|(a|l)?gpl(-\d\.\d)?|mpl-2\.0|cdla-permissive-\d\.\d",
    re.IGNORECASE,
)
NOT_COMMERCIAL = re.compile(r"(^|[-_ ])nc([-_ ]|$)|non[-_ ]?commercial|research[-_ ]only", re.IGNORECASE)
LICENCE_LINE = re.compile(r"apache-2\.0|mit|bsd", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """Of one part of a model. part: "model", "adapter", "vae", "lora", "control model" or "face detector". licence: as
    it is stated, "" if it is not. commercial: whether it allows commercial use: "yes", "no" or "unknown". source: where
    it is stated."""

    part: str
    name: str
    licence: str
    commercial: str
    source: str


def licences(
    *,
    model: str = DEMO,
    adapter: str | None = None,
    vae: str | Path | None = None,
    loras: Sequence[str] = (),
    control_model: str | Path | None = None,
    detector: Detector | None = None,
) -> list[Licence]:
    """Of everything that such a Studio uses; the arguments are those of `Studio.open`. Nothing is fetched: a hub id
    that is not here is a UserError, and so is a LoRA that is not."""
    base = demo.bundle_path() if model == DEMO else locate(model, offline=True)
    found = [licence_of("model", _name(model), base)]
    inside = base / "adapter"
    if adapter:
        found.append(licence_of("adapter", _name(adapter), locate(adapter, offline=True)))
    elif inside.is_dir():  # without a card of its own it is under that of the model around it
        found.append(licence_of("adapter", _name(model), inside if (inside / CARD).is_file() else base))
    for part, path in (("vae", vae), ("control model", control_model)):
        if path is not None:
            found.append(licence_of(part, _name(str(path)), Path(path).expanduser()))
    found += [licence_of("lora", lora.file.name, lora.file) for lora in map(Lora.parse, loras)]
    return [*found, *(detector_licences(detector) if detector else [])]


def licence_of(part: str, name: str, path: Path) -> Licence:
    """What a model's directory or file says: where it was fetched from, its card, its header, the card beside it."""
    for stated, source in _statements(path):
        return Licence(part, name, stated, commercial_use(stated), source)
    return Licence(part, name, "", "unknown", "not stated")


def detector_licences(detector: Detector) -> list[Licence]:
    """One for each that looks for faces, by its own line."""
    several = [getattr(detector, part, None) for part in ("avatar", "photo")]
    found = []
    for one in [each for each in several if each is not None] or [detector]:
        free = LICENCE_LINE.search(one.licence)
        commercial = commercial_use(one.licence)
        found.append(
            Licence(
                "face detector",
                one.name,
                one.licence,
                "yes" if free and commercial != "no" else commercial,
                "facefact's list of detectors",
            )
        )
    return found


def commercial_use(licence: str) -> str:
    """ "yes", "no" or "unknown": several licences, with commas between, allow what each of them allows."""
    if NOT_COMMERCIAL.search(licence):
        return "no"
    names = [one.strip() for one in licence.split(",")]
    return "yes" if all(FREE.fullmatch(one) for one in names) else "unknown"


def brief(found: Iterable[Licence]) -> dict[str, str]:
    """As the recipe has it: part (and name, of several) -> licence, "unknown" where none is stated."""
    return {
        f"lora {one.name}" if one.part == "lora" else one.part: one.licence or "unknown"
        for one in found
        if one.part != "face detector"
    }


def refuse_unfree(found: Iterable[Licence]) -> None:
    """UserError, which names them: parts whose licence forbids commercial use, or is not known."""
    why = {"no": "forbids commercial use", "unknown": "is not known to allow commercial use"}
    bad = [
        f"the {one.part} {one.name} ({one.licence or 'licence not stated'}) {why[one.commercial]}"
        for one in found
        if one.commercial != "yes"
    ]
    if bad:
        raise UserError(f"--strict-licences: {'; '.join(bad)}")


def _statements(path: Path) -> Iterable[tuple[str, str]]:
    """(licence, where it is stated), the best first."""
    if path.is_file():
        yield from _of_file(path)
        return
    if (path / SOURCES).is_file():
        stated = json.loads((path / SOURCES).read_text(encoding="utf-8"))["licences"]
        yield ", ".join(dict.fromkeys(one or "not stated" for one in stated.values())), SOURCES
    if stated_in_card := _of_card(path / CARD):
        yield stated_in_card, CARD


def _of_file(path: Path) -> Iterable[tuple[str, str]]:
    if path.suffix == ".safetensors":
        metadata = header(path)[1]
        for key in STATED:
            if value := " ".join(metadata.get(key, "").split()):
                yield value, f"{key} in the file"
    for card in (path.with_suffix(".md"), path.parent / CARD):
        if stated := _of_card(card):
            yield stated, card.name


def _of_card(card: Path) -> str:
    """The licence that a model card's front matter names, "" if none."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    matter = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        said = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError:
        said = None
    if not isinstance(said, Mapping):
        return ""
    licence = said.get("license")
    names: list[Any] = licence if isinstance(licence, list) else [licence]
    named = [str(said.get("license_name") or one) if one == "other" else str(one) for one in names if one]
    return " ".join(", ".join(named).split())


def _name(name: str) -> str:
    """A hub id or `demo` as it is; of what lies on this machine only its last part."""
    return Path(name).resolve().name if Path(name).exists() else name
