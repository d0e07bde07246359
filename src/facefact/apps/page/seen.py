"""What the service says of photos and portraits, in plain words: what was found, how alike, which styles there are."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import gradio as gr
from PIL import Image

from facefact.apps.page.calls import Calls

PLAIN = "none: the words alone"


def ranked(calls: Calls, faces: list[str], pictures: list[str]) -> list[tuple[str, str]]:
    """The pictures with what their likeness means, the most alike first."""
    if not pictures:
        return []
    found = calls.likeness(faces, pictures)
    order = sorted(zip(pictures, found, strict=True), key=lambda one: one[1]["similarity"] or -2.0, reverse=True)
    return [(path, said_of_likeness(one)) for path, one in order]


def said_of_likeness(one: dict[str, Any]) -> str:
    if one["similarity"] is None:
        return "no face is found in it"
    if one["likeness"] is None:
        return f"similarity {one['similarity']:.2f}"
    return f"likeness {one['likeness']:.2f}: {one['words']}"


def shown_styles(calls: Calls) -> tuple[Any, Any]:
    """Those with a preview as a gallery, and all to choose from."""
    found = calls.styles()
    pictures = []
    for one in found:
        if one["preview"]:
            with Image.open(io.BytesIO(base64.b64decode(one["preview"]))) as image:
                pictures.append((image.convert("RGB"), one["title"] or one["name"]))
    choices = [PLAIN, *((one["title"] or one["name"], one["name"]) for one in found)]
    return pictures, gr.update(choices=choices)


def looked_at(calls: Calls, paths: list[str] | None) -> tuple[Any, str]:
    """The last photo with what was found drawn into it, and in words what speaks against each."""
    lines, drawn = [], None
    for number, path in enumerate(paths or [], 1):
        if str(path).endswith(".safetensors"):
            lines.append(f"<li>{number}: an identity card</li>")
            continue
        try:
            found = calls.faces(path)
        except gr.Error as error:
            lines.append(f"<li>{number}: {html.escape(str(error.message))}</li>")
            continue
        if found["drawn"]:
            with Image.open(io.BytesIO(base64.b64decode(found["drawn"]))) as image:
                drawn = image.convert("RGB")
        lines += [f"<li>{number}: {html.escape(one)}</li>" for one in said_of(found)]
    return drawn, f'<div class="said" role="status"><ul>{"".join(lines)}</ul></div>' if lines else ""


def said_of(found: dict[str, Any]) -> list[str]:
    """In plain words."""
    if found["error"]:
        return [found["error"], *found["warnings"]]
    face = found["faces"][found["which"] or 0]
    others = len(found["faces"]) - 1
    more = [f"{others} more faces are in it; the largest is taken"] if others else []
    return [*more, *face["costs"], *found["warnings"]] or ["a good photo: one face, sharp and near"]
