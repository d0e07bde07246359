"""Signed Content Credentials (C2PA) in a picture's file: written, and read again.

The package c2pa-python (extra `c2pa`) does both. Nothing uses the network: no authority stamps the time, no manifest
that lies elsewhere is fetched, no revocation is asked for.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from facefact import __version__
from facefact.generate.certificates import AUTHORITY, MISSING, Credentials, read_credentials, signing_folder
from facefact.generate.metadata import SOURCE_TYPES
from facefact.types import UserError

log = logging.getLogger("facefact")

GENERATOR = "facefact"  # as manifests name what made them
MODELS = "org.facefact.models"  # our assertion: names and SHA-256 of what made the picture
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MIME = {
    **{form: f"image/{form.lower()}" for form in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF")},
    **{"MPO": "image/jpeg", "HEIF": "image/heif"},
}
# A picture with its thumbnail would be 450 kB larger; the rest asks the network.
SETTINGS: dict[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
TEMPLATE, PARENT, INPUT = "template", "parentOf", "inputTo"
BOX = b"jumdc2pa"  # the head of the box that manifests lie in
UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Signer:
    """Who signs pictures; one for any number of them, in any thread."""

    credentials: Credentials

    @classmethod
    def open(cls, key: str | Path, chain: str | Path) -> Signer:
        """From a private key and its certificates, leaf first, in PEM. It has signed once on trial when it is open.

        UserError: c2pa-python is not installed, the files are not such or do not fit, or C2PA does not allow them.
        """
        _library()
        signer = cls(read_credentials(Path(key), Path(chain)))
        try:
            empty = io.BytesIO()
            Image.new("RGB", (1, 1)).save(empty, format="PNG")
            signer._signed(empty.getvalue(), "PNG", _manifest({"kind": "text-to-image"}, [], opened=False), [])
        except _library().C2paError as error:
            raise UserError(f"{chain} cannot sign pictures: {_line(error)}") from error
        return signer

    def sign(
        self,
        picture: bytes,
        form: str,
        recipe: Mapping[str, Any],
        *,
        template: Path | None = None,
        photos: Sequence[Path] = (),
        kept: Sequence[bytes] = (),
    ) -> bytes:
        """A finished picture file with a manifest: what was done, by which models, from what.

        form: PNG, JPEG or WEBP. recipe: as the file holds it. template: the picture that was worked on; it becomes the
        parent, with its own manifest if it has one. photos: of people; only those that have a manifest are named, as
        what went in. Neither's file name is written. kept: of pictures whose files are gone, what `keep_manifest` took
        of them; one of a template takes the place of `template`. UserError: it cannot be signed.
        """
        archived = [one for one in map(_archived, kept) if one is not None]
        gone = any(one.role == PARENT for one in archived)
        parent = [_ingredient(TEMPLATE, template, role=PARENT)] if template and not gone else []
        faces = [_ingredient(f"photo {i}", path, role=INPUT) for i, path in enumerate(photos, 1) if has_manifest(path)]
        inputs = [one for one in (*archived, *parent, *faces) if one is not None]
        parent_is_in = any(one.role == PARENT for one in inputs)
        try:
            return self._signed(picture, form, _manifest(recipe, inputs, opened=parent_is_in), inputs)
        except _library().C2paError as error:
            raise UserError(f"the picture cannot be signed: {_line(error)}") from error

    def _signed(self, picture: bytes, form: str, manifest: Mapping[str, Any], inputs: Sequence[_Input]) -> bytes:
        c2pa, own = _library(), self.credentials
        builder = c2pa.Builder(json.dumps(manifest), context=c2pa.Context.from_dict(SETTINGS))
        for one in inputs:
            if one.mime is None:
                builder.add_ingredient_from_archive(io.BytesIO(one.content))
            else:
                builder.add_ingredient(one.about, one.mime, io.BytesIO(one.content))
        info = c2pa.C2paSignerInfo(own.algorithm, own.chain, own.key, None)
        signed = io.BytesIO()
        with c2pa.Signer.from_info(info) as signer:
            builder.sign(signer, MIME[form], io.BytesIO(picture), signed)
        return signed.getvalue()


@dataclass(frozen=True)
class _Input:
    """mime: None where the content is an archive of `keep_manifest`."""

    title: str
    role: str
    mime: str | None
    content: bytes = field(repr=False)

    @property
    def about(self) -> str:
        """Its title is also the label by which actions name it."""
        return json.dumps({"title": self.title, "relationship": self.role, "label": self.title})


def keep_manifest(content: bytes, title: str) -> bytes | None:
    """The manifests of a picture's file and how far they hold of that very file, without its pixels, for `sign` when
    the file is gone; None: it has none that can be read. title: "template" for what is worked on, "photo N" for what
    goes in."""
    if BOX not in content:
        return None
    c2pa, role = _library(), PARENT if title == TEMPLATE else INPUT
    try:
        with Image.open(io.BytesIO(content)) as image:
            one = _Input(title, role, MIME.get(str(image.format)), content)
        if one.mime is None:
            return None
        with c2pa.Reader(one.mime, io.BytesIO(content), context=c2pa.Context.from_dict(SETTINGS)):
            pass  # (an ingredient may be anything; this has to be one with a manifest)
        builder, out = c2pa.Builder("{}", context=c2pa.Context.from_dict(SETTINGS)), io.BytesIO()
        builder.add_ingredient(one.about, one.mime, io.BytesIO(content))
        builder.write_ingredient_archive(title, out)
    except (c2pa.C2paError, OSError, ValueError):
        return None
    return out.getvalue()


def _archived(content: bytes) -> _Input | None:
    """None, which the log says, of what is no archive of `keep_manifest`."""
    c2pa = _library()
    try:
        with c2pa.Reader("application/c2pa", io.BytesIO(content), context=c2pa.Context.from_dict(SETTINGS)) as reader:
            (said,) = (reader.get_active_manifest() or {}).get("ingredients", [])
        trial = c2pa.Builder("{}", context=c2pa.Context.from_dict(SETTINGS))
        trial.add_ingredient_from_archive(io.BytesIO(content))
    except (c2pa.C2paError, ValueError) as error:
        log.warning("warning: the Content Credentials of a picture cannot be kept: %s", _line(error))
        return None
    return _Input(str(said.get("title")), str(said.get("relationship")), None, content)


def _ingredient(title: str, path: Path, *, role: str) -> _Input | None:
    """None, which the log says, of a format that holds no manifest, or one that C2PA cannot read."""
    c2pa = _library()
    try:
        with Image.open(path) as image:
            mime = MIME.get(str(image.format))
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {_line(error)}") from error
    if mime is None or mime not in c2pa.Builder.get_supported_mime_types():
        return None
    try:
        trial = c2pa.Builder("{}", context=c2pa.Context.from_dict(SETTINGS))
        trial.add_ingredient(json.dumps({"title": title, "relationship": role}), mime, io.BytesIO(content))
    except c2pa.C2paError as error:
        log.warning("warning: the Content Credentials of %s cannot be kept: %s", path, _line(error))
        return None
    return _Input(title, role, mime, content)


def _manifest(recipe: Mapping[str, Any], inputs: Sequence[_Input], *, opened: bool) -> dict[str, Any]:
    source = SOURCE + SOURCE_TYPES[recipe["kind"]]
    agent = {"name": GENERATOR, "version": __version__}
    if opened:
        parent = {"action": "c2pa.opened", "parameters": {"ingredientIds": [TEMPLATE]}}
        actions = [parent, {"action": "c2pa.edited", "softwareAgent": agent, "digitalSourceType": source}]
    else:
        actions = [{"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": source}]
    placed = [one.title for one in inputs if one.role == INPUT]
    if placed:
        actions[-1]["parameters"] = {"ingredientIds": placed}
    models = {name: recipe[name] for name in ("model", "adapter") if recipe.get(name)}
    return {
        "claim_generator_info": [agent],
        "title": "portrait",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": MODELS, "data": models},
        ],
    }


@dataclass(frozen=True)
class Signature:
    """What a file's manifest is worth.

    state: "trusted"; "valid" (nothing was changed since, but nobody here vouches for the signer); "tampered" (it was
    changed, or the signature is broken); "unknown" (there is one, and c2pa-python, which reads it, is not installed).
    signer: as the certificate says. generator: the program that made the manifest. source: the IPTC source type that
    it claims. models: what our own manifests say of them. inputs: titles of the ingredients that bring a manifest of
    their own. why: of what is tampered, in the words of the library.
    """

    state: str
    signer: str = ""
    generator: str = ""
    source: str = ""
    models: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    why: str = ""


def has_manifest(path: Path) -> bool:
    """Whether the file seems to hold Content Credentials: the head of their box is in it."""
    return BOX in path.read_bytes()


def read_signature(path: Path, *, trusted: Sequence[bytes] = ()) -> Signature | None:
    """The signature of a picture's file, None if it has none. trusted: certificates (PEM) of authorities besides the
    one in `signing_folder`."""
    try:
        c2pa = _library()
    except UserError:
        return Signature("unknown") if has_manifest(path) else None
    with Image.open(path) as image:
        mime = MIME.get(str(image.format))
    if mime is None or mime not in c2pa.Reader.get_supported_mime_types():
        return None
    own = signing_folder() / AUTHORITY
    anchors = [*trusted, *([own.read_bytes()] if own.is_file() else [])]
    trust = {"trust": {"trust_anchors": b"\n".join(anchors).decode(errors="replace")}} if anchors else {}
    try:
        with c2pa.Reader(
            mime, io.BytesIO(path.read_bytes()), context=c2pa.Context.from_dict(SETTINGS | trust)
        ) as reader:
            return _judged(reader)
    except c2pa.C2paError as error:
        if "ManifestNotFound" in type(error).__name__:
            return None
        return Signature("tampered", why=_line(error))


def _judged(reader: Any) -> Signature:
    manifest, results = reader.get_active_manifest() or {}, reader.get_validation_results() or {}
    failures = [one for one in results.get("activeManifest", {}).get("failure", []) if one.get("code") != UNTRUSTED]
    state = {"Trusted": "trusted", "Valid": "valid"}.get(str(reader.get_validation_state()), "tampered")
    info, makers = manifest.get("signature_info") or {}, manifest.get("claim_generator_info") or [{}]
    said = {str(one.get("label")): one.get("data") or {} for one in manifest.get("assertions", [])}
    actions: list[Any] = next(
        (data.get("actions", []) for label, data in said.items() if label.startswith("c2pa.actions")), []
    )
    sources = [str(one["digitalSourceType"]) for one in actions if one.get("digitalSourceType")]
    inputs = [str(one.get("title")) for one in manifest.get("ingredients", []) if one.get("active_manifest")]
    return Signature(
        state,
        signer=str(info.get("common_name") or info.get("issuer") or ""),
        generator=str(makers[0].get("name") or ""),
        source=sources[-1].rpartition("/")[2] if sources else "",
        models=said.get(MODELS, {}),
        inputs=tuple(inputs),
        why="; ".join(str(one.get("explanation") or one.get("code")) for one in failures)
        if state == "tampered"
        else "",
    )


def _library() -> Any:
    """UserError: it is not installed."""
    try:
        import c2pa
    except ImportError:
        raise UserError(MISSING) from None
    return c2pa


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
