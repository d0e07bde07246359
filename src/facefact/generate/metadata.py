"""Where a picture's file says what made it, and that it is AI-generated: PNG, JPEG and WebP.

| | PNG | JPEG, WebP |
|---|---|---|
| the recipe (JSON) | text chunk `facefact` | XMP, `facefact:recipe` |
| the text of Stable Diffusion's tools | text chunk `parameters` | EXIF `UserComment`, XMP `dc:description` |
| IPTC "digital source type" | XMP | XMP |
"""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape, unescape

from PIL import ExifTags, Image, PngImagePlugin

from facefact.generate.parameters import parameters_text, recipe_of

CHUNK = "facefact"
NOTICE = "AI-generated"
UNICODE = b"UNICODE\0"  # what EXIF's UserComment begins with; UTF-16 in the byte order of the whole EXIF follows
# cv.iptc.org/newscodes/digitalsourcetype: made by a model; a picture of which a model made a part.
SOURCE_TYPES = {
    "text-to-image": "trainedAlgorithmicMedia",
    "inpainting": "compositeWithTrainedAlgorithmicMedia",
    "group": "trainedAlgorithmicMedia",
    "group in a template": "compositeWithTrainedAlgorithmicMedia",
}
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:facefact="urn:facefact">
<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/{source}</Iptc4xmpExt:DigitalSourceType>
<photoshop:Credit>{notice}</photoshop:Credit>
<xmp:CreatorTool>{tool}</xmp:CreatorTool>{more}
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
# (Not as exif:UserComment, which is what it is: CivitAI's reader then takes it for the EXIF one, and finds nothing.)
XMP_TEXTS = """
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
<facefact:recipe>{recipe}</facefact:recipe>"""
XMP_RECIPE = re.compile(rb"<facefact:recipe>(.*?)</facefact:recipe>", re.DOTALL)
NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def save_options(recipe: dict[str, Any], form: str) -> dict[str, Any]:
    """The arguments with which Pillow writes the recipe into a PNG, JPEG or WEBP. PNG and WebP keep every pixel."""
    if form == "PNG":
        return {"pnginfo": _png_info(recipe)}
    texts = XMP_TEXTS.format(text=_as_xml(parameters_text(recipe)), recipe=_as_xml(json.dumps(recipe)))
    options = {"exif": _exif(recipe), "xmp": _xmp(recipe, more=texts)}
    if form == "JPEG":
        return options | {"quality": 95, "subsampling": 0, "comment": NOTICE}
    return options | {"lossless": True, "exact": True}


def recipe_in(image: Image.Image) -> Any:
    """The recipe in a picture, or, where a program left the tools' text alone, what that keeps of it; None: neither.

    ValueError, TypeError, KeyError: what is there is damaged.
    """
    if CHUNK in image.info:
        return json.loads(image.info[CHUNK])
    if found := XMP_RECIPE.search(image.info.get("xmp", b"")):
        return json.loads(unescape(found[1].decode()))
    text = image.info.get("parameters") or user_comment(image)
    return recipe_of(text)


def _png_info(recipe: dict[str, Any]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(CHUNK, json.dumps(recipe))
    info.add_text("parameters", parameters_text(recipe))
    info.add_text("Software", _tool(recipe))
    info.add_text("Comment", NOTICE)
    info.add_itxt("XML:com.adobe.xmp", _xmp(recipe).decode())
    return info


def _exif(recipe: dict[str, Any]) -> Image.Exif:
    exif = Image.Exif()  # in big-endian order, which is also that of the comment
    exif[ExifTags.Base.Software] = _tool(recipe)
    comment = UNICODE + parameters_text(recipe).encode("utf-16-be", errors="replace")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif


def user_comment(image: Image.Image) -> str:
    """EXIF's, as we and the web UI write it, "" if there is none."""
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    return comment.removeprefix(UNICODE).decode("utf-16-be") if comment.startswith(UNICODE) else ""


def _xmp(recipe: dict[str, Any], *, more: str = "") -> bytes:
    source = SOURCE_TYPES[recipe["kind"]]
    return XMP.format(source=source, notice=NOTICE, tool=_as_xml(_tool(recipe)), more=more).encode()


def _as_xml(text: str) -> str:
    return escape(NOT_IN_XML.sub("\ufffd", text))


def _tool(recipe: dict[str, Any]) -> str:
    return f"facefact {recipe['versions']['facefact']}"
