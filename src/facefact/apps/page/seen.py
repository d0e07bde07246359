"""What the service says of photos and portraits, in plain words: what was found, how alike, which styles there are."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import gradio as gr
from PIL import Image

from facefact.apps.page.calls import Calls

LONGEST = 1.25  # likeness at the right end of the scale
UNCALIBRATED = (
    '<div class="said small">What these similarities mean is not measured for this model yet. Measure it on your own '
    "photos, a folder for each person, then it is said here: <code>facefact card calibrate photos/ --recogniser "
    "ADAPTER</code> (ADAPTER: the directory of the face adapter).</div>"
)
PLAIN = "none: the words alone"


def ranked(calls: Calls, faces: list[str], pictures: list[str]) -> tuple[list[tuple[str, str]], str]:
    """The pictures with how alike they are, the most alike first; and what that means, as HTML."""
    found = calls.likeness(faces, pictures)
    order = sorted(zip(pictures, found, strict=True), key=lambda one: one[1]["similarity"] or -2.0, reverse=True)
    return [(path, caption(one)) for path, one in order], scale([one for _, one in order])


def caption(one: dict[str, Any]) -> str:
    """Short: a gallery cuts what is longer."""
    if one["similarity"] is None:
        return "no face found"
    return f"similarity {one['similarity']:.2f}" if one["likeness"] is None else f"likeness {one['likeness']:.2f}"


def scale(found: list[dict[str, Any]]) -> str:
    """Where each picture is between two strangers and two real pictures of one person, in the gallery's order."""
    if all(one["likeness"] is None for one in found):
        return UNCALIBRATED if any(one["similarity"] is not None for one in found) else ""
    rows = "".join(_on_the_scale(number, one) for number, one in enumerate(found, 1))
    return (
        f'<div class="scale"><div class="ends"><span>two strangers: 0</span><span>two real pictures of one person: 1'
        f"</span></div><ul>{rows}</ul></div>"
    )


def _on_the_scale(number: int, one: dict[str, Any]) -> str:
    if one["likeness"] is None:
        return f"<li>Portrait {number}: no face is found in it</li>"
    place = min(LONGEST, max(0.0, one["likeness"])) / LONGEST
    return (
        f'<li><div class="line" aria-hidden="true"><i style="left:{100 / LONGEST:.1f}%"></i>'
        f'<b style="left:{100 * place:.1f}%"></b></div>Portrait {number}: {one["likeness"]:.2f}, '
        f"{html.escape(one['words'])}</li>"
    )


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
