"""What made a picture, written into the picture: enough to make it again, and the notice that it is AI-generated.

The recipe is a dict of JSON values; `metadata` says where in the file it lies.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from facefact import __version__
from facefact.checkpoint import replacing
from facefact.generate.metadata import recipe_in, save_options
from facefact.types import Portrait, UserError

if TYPE_CHECKING:
    from facefact.generate.signing import Signer

PACKAGES = ("torch", "diffusers", "transformers")
# The formats by the ends of their names, and Pillow's names for them.
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def versions() -> dict[str, str]:
    """The installed versions of the packages that a picture depends on."""
    found = {"facefact": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def file_hash(path: str | Path) -> str:
    """SHA-256 of the bytes of one file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_hash(directory: str | Path) -> str:
    """SHA-256 over the names and contents of a model directory, in hex; the same wherever the directory lies.

    Of a diffusers pipeline only what `model_index.json` names counts, of any other directory what lies directly in it.
    """
    root = Path(directory)
    digest = hashlib.sha256()
    for path in sorted(_model_files(root), key=lambda path: path.relative_to(root).as_posix()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()


def _model_files(root: Path) -> Iterable[Path]:
    index = root / "model_index.json"
    if not index.is_file():
        return [path for path in root.iterdir() if path.suffix in (".json", ".safetensors")]
    folders = [root / name for name in json.loads(index.read_text(encoding="utf-8")) if (root / name).is_dir()]
    kinds = (".json", ".safetensors", ".bin", ".txt")
    return [index, *(path for folder in folders for path in folder.rglob("*") if path.suffix in kinds)]


def save_portrait(
    portrait: Portrait,
    path: str | Path,
    signer: Signer | None = None,
    *,
    template: Path | None = None,
    photos: Sequence[Path] = (),
    kept: Sequence[bytes] = (),
) -> None:
    """Writes a PNG, JPEG or WebP, as the name ends, with its recipe: under a temporary name first, so that no half
    picture ever has its own. signer: adds Content Credentials, which keep those of the template that was worked on, and
    of photos of people; kept: of files that are gone (`signing.keep_manifest`). UserError: another ending, what a JPEG
    cannot hold, what the disk does not take, or what cannot be signed."""
    path, image = Path(path), portrait.image
    form = format_of(path)
    if form == "JPEG" and image.has_transparency_data:
        raise UserError(f"{path}: a JPEG has no transparency, and this picture has: take a PNG or a WebP")
    content, profile = io.BytesIO(), image.info.get("icc_profile")
    try:
        image.save(content, format=form, icc_profile=profile, **save_options(portrait.recipe, form))
    except ValueError as error:  # of what is said about the picture: a JPEG's EXIF holds 64 kB
        raise UserError(f"{path}: {error} (a PNG has no such limit)") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    written = content.getvalue()
    if signer is not None:
        written = signer.sign(written, form, portrait.recipe, template=template, photos=photos, kept=kept)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(written)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def format_of(path: Path) -> str:
    """Pillow's name of the format. UserError: none that portraits are written in."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: portraits are written as {', '.join(FORMATS)}; let the name end so")
    return FORMATS[path.suffix.lower()]


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe in a picture of `save_portrait`. UserError: no such file, no picture, no recipe in it."""
    try:
        with Image.open(path) as image:
            recipe = recipe_in(image)
    except (OSError, ValueError, TypeError, KeyError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read a recipe from {path}: {error}") from error
    if recipe is None:
        raise UserError(f"{path} carries no recipe: it was not made by facefact, or its metadata was removed")
    if not isinstance(recipe, dict):
        raise UserError(f"{path} carries a damaged recipe")
    return {"face_guidance": True} | recipe  # recipes older than that setting are of the only way there was
