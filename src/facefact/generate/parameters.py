"""The text that Stable Diffusion's tools read in a picture, as AUTOMATIC1111's web UI writes it: prompt, negative
prompt, and a line of settings.

CivitAI credits a model by `Model` together with `Model hash`, and everything that `Hashes` names: the first ten digits
of a file's SHA-256 (its "AutoV2" hash).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

NEGATIVE = "Negative prompt:"
# What a setting is called there, the field of our recipe, and its type.
FIELDS = {
    "Steps": ("steps", int),
    "Sampler": ("scheduler", str),
    "CFG scale": ("guidance_scale", float),
    "Seed": ("seed", int),
    "Denoising strength": ("strength", float),
    "Face scale": ("scale", float),
    "Face start": ("start", float),
    "Face end": ("end", float),
}
PAIR = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|\{[^}]*\}|[^,]*)(?:,|$)')
LORA_TAG = re.compile(r" <lora:[^<>:]*:([^<>:]*)>")
LAST_TAG = re.compile(r" <lora:[^<>]*>$")


def parameters_text(recipe: Mapping[str, Any]) -> str:
    """The recipe as such a text. A LoRA's weight stands in the prompt, where those tools look for it."""
    loras = (recipe.get("model") or {}).get("loras") or []
    prompt = recipe["prompt"] + "".join(f" <lora:{_tag(lora)}:{lora['weight']:g}>" for lora in loras)
    settings = {name: recipe[field] for name, (field, _) in FIELDS.items() if recipe.get(field) is not None}
    settings["Size"] = f"{recipe['width']}x{recipe['height']}"
    if recipe.get("local"):
        settings["Face local"] = True
    if recipe.get("face_guidance") is False:
        settings["Face guidance"] = False
    if adapter := recipe.get("adapter"):
        settings |= {"Face adapter hash": _short(adapter), "Face adapter": _name(adapter)}
    if model := recipe.get("model"):
        settings |= {"Model hash": _short(model), "Model": _name(model)}
        if vae := model.get("vae"):
            settings |= {"VAE hash": _short(vae), "VAE": _name(vae)}
    if loras:
        settings["Lora hashes"] = ", ".join(f"{_tag(lora)}: {_short(lora)}" for lora in loras)
    settings["Version"] = f"facefact {recipe['versions']['facefact']}"
    pairs = [f"{name}: {_quoted(value)}" for name, value in settings.items()]
    if hashes := _hashes(model, loras):
        pairs.append(f"Hashes: {json.dumps(hashes)}")
    negative = [f"{NEGATIVE} {recipe['negative_prompt']}"] if recipe["negative_prompt"] else []
    return "\n".join([prompt, *negative, ", ".join(pairs)])


def read_parameters(text: str) -> tuple[str, str, dict[str, str]]:
    """(prompt, negative prompt, the settings by their names, without quotes) of such a text, whoever wrote it."""
    *lines, last = text.strip().split("\n")
    prompt, _, negative = "\n".join(lines).partition(NEGATIVE)
    return prompt.strip(), negative.strip(), {name: _unquoted(value) for name, value in PAIR.findall(last)}


def recipe_of(text: str) -> dict[str, Any] | None:
    """What such a text keeps of the recipe: all settings of the picture, and what it was made with, of whose hashes it
    keeps the first digits; not the faces.

    None: another program wrote it. ValueError: it is damaged.
    """
    prompt, negative, settings = read_parameters(text)
    if not settings.get("Version", "").startswith("facefact "):
        return None
    width, _, height = settings["Size"].partition("x")
    loras = _loras(prompt, settings.get("Lora hashes", ""))
    return {
        "kind": "inpainting" if "Denoising strength" in settings else "text-to-image",
        "prompt": _without_tags(prompt, len(loras)),
        "negative_prompt": negative,
        **{field: kind(settings[name]) for name, (field, kind) in FIELDS.items() if name in settings},
        "local": "Face local" in settings,
        "face_guidance": settings.get("Face guidance") != "False",
        "width": int(width),
        "height": int(height),
        **_parts(settings, loras),
    }


def _parts(settings: Mapping[str, str], loras: list[dict[str, Any]]) -> dict[str, Any]:
    """model and adapter as the recipe has them."""
    found: dict[str, dict[str, Any]] = {
        field: {"name": settings[name], "sha256": settings[f"{name} hash"]}
        for field, name in (("model", "Model"), ("vae", "VAE"), ("adapter", "Face adapter"))
        if f"{name} hash" in settings
    }
    vae = found.pop("vae", None)
    if "model" in found:
        found["model"] |= ({"vae": vae} if vae else {}) | ({"loras": loras} if loras else {})
    return found


def _loras(prompt: str, hashes: str) -> list[dict[str, Any]]:
    """Those that we wrote at the end of a prompt and with their hashes; whose tags come before may be the user's."""
    named = [pair.rpartition(": ")[::2] for pair in hashes.split(", ") if hashes]
    weights = [float(weight) for weight in LORA_TAG.findall(prompt)[-len(named) :]] if named else []
    return [
        {"name": name, "sha256": sha256, "weight": weight}
        for (name, sha256), weight in zip(named, weights, strict=True)
    ]


def _without_tags(prompt: str, count: int) -> str:
    """The prompt without the last tags of LoRAs: those before are the user's."""
    for _ in range(count):
        prompt = LAST_TAG.sub("", prompt)
    return prompt


def _hashes(model: Mapping[str, Any] | None, loras: Sequence[Mapping[str, str]]) -> dict[str, str]:
    found = {f"lora:{_tag(lora)}": _short(lora) for lora in loras}
    if not model:
        return found
    vae = {"vae": _short(model["vae"])} if model.get("vae") else {}
    return {"model": _short(model)} | vae | found


def _short(file: Mapping[str, str]) -> str:
    return file["sha256"][:10]


def _name(file: Mapping[str, str]) -> str:
    return file["name"].removesuffix(".safetensors")


def _tag(lora: Mapping[str, str]) -> str:
    return plain_name(lora["name"])


def plain_name(name: str) -> str:
    """The name of a file without `.safetensors` and without what ends a name in those texts. (CivitAI reads no weight
    of a LoRA whose name has a backslash.)"""
    return re.sub(r'[,:"<>{}\n\\]', "", name.removesuffix(".safetensors"))


def _quoted(value: Any) -> str:
    """A value with a comma, a colon, a quote or a new line as a JSON string."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r'[,:"\n]', text) else text


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value.strip()
    except ValueError:
        return value
