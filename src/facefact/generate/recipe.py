"""What made a picture, written into the picture: enough to make it again, and the notice that it is AI-generated.

Three standard places in a PNG: the text chunk `facefact` (JSON, the whole recipe), `parameters` (the line that image
browsers for Stable Diffusion show) and XMP (IPTC "digital source type").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, PngImagePlugin

from facefact import __version__
from facefact.checkpoint import replacing
from facefact.types import Portrait, UserError

CHUNK = "facefact"
PACKAGES = ("torch", "diffusers", "transformers")
# cv.iptc.org/newscodes/digitalsourcetype: made by a model; a picture of which a model made a part.
SOURCE_TYPES = {
    "text-to-image": "trainedAlgorithmicMedia",
    "inpainting": "compositeWithTrainedAlgorithmicMedia",
}
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/{source}</Iptc4xmpExt:DigitalSourceType>
<photoshop:Credit>AI-generated</photoshop:Credit>
<xmp:CreatorTool>{tool}</xmp:CreatorTool>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


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


def png_info(recipe: dict[str, Any]) -> PngImagePlugin.PngInfo:
    """The recipe as PNG chunks."""
    info = PngImagePlugin.PngInfo()
    tool = f"facefact {recipe['versions']['facefact']}"
    info.add_text(CHUNK, json.dumps(recipe))
    info.add_text("parameters", parameters_line(recipe))
    info.add_text("Software", tool)
    info.add_text("Comment", "AI-generated")
    info.add_itxt("XML:com.adobe.xmp", XMP.format(source=SOURCE_TYPES[recipe["kind"]], tool=escape(tool)))
    return info


def parameters_line(recipe: dict[str, Any]) -> str:
    """The recipe in the form that Stable Diffusion's image browsers read."""
    rest = {
        "Steps": recipe["steps"],
        "Sampler": recipe["scheduler"],
        "CFG scale": recipe["guidance_scale"],
        "Seed": recipe["seed"],
        "Size": f"{recipe['width']}x{recipe['height']}",
        "Face scale": recipe["scale"],
    }
    if "model" in recipe:
        rest["Model hash"] = recipe["model"]["sha256"][:10]
    line = ", ".join(f"{key}: {value}" for key, value in rest.items())
    return f"{recipe['prompt']}\nNegative prompt: {recipe['negative_prompt']}\n{line}"


def save_portrait(portrait: Portrait, path: str | Path) -> None:
    """Writes a PNG with its recipe: under a temporary name first, so that no half picture ever has its own."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        portrait.image.save(temporary, format="PNG", pnginfo=png_info(portrait.recipe))


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe in a picture of `save_portrait`. UserError: no such file, no picture, no recipe in it."""
    try:
        with Image.open(path) as image:
            recipe = json.loads(image.info[CHUNK])
    except KeyError:
        raise UserError(f"{path} carries no recipe: it was not made by facefact, or its metadata was removed") from None
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read a recipe from {path}: {error}") from error
    if not isinstance(recipe, dict):
        raise UserError(f"{path} carries a damaged recipe")
    return recipe
