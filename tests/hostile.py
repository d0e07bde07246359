"""Uploads that mean harm, or that met with some: damaged, huge, mislabelled, two things at once, no picture at all.

Each is (what it is, its bytes); always the same ones for the same seed.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="64">'
    b'<image xlink:href="http://127.0.0.1:1/x.png" width="64" height="64"/><text>&a;</text></svg>'
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(/etc/passwd) (r) file showpage\n%%EOF\n"


def uploads(count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many: each of the single ones, and the rest pictures of every format, damaged at random."""
    single = list(singles())
    yield from single[:count]
    random = np.random.default_rng(seed)
    whole = {form: whole_picture(random, form) for form in FORMATS}
    for number in range(count - len(single)):
        form = FORMATS[number % len(FORMATS)]
        yield f"{form} {number}", damaged(random, whole[form])


def whole_picture(random: np.random.Generator, form: str) -> bytes:
    out = io.BytesIO()
    pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, format=form)
    return out.getvalue()


def damaged(random: np.random.Generator, content: bytes) -> bytes:
    """Cut off, bytes changed, a piece repeated or left out, or the head alone changed."""
    data = bytearray(content)
    at = int(random.integers(1, len(data)))
    kind = int(random.integers(0, 5))
    if kind == 0:
        return bytes(data[:at])
    if kind == 1:
        for place in random.integers(0, len(data), 20):
            data[place] = int(random.integers(0, 256))
    elif kind == 2:
        data[at:at] = data[: min(at, 200)]
    elif kind == 3:
        del data[at : at + 100]
    else:
        for place in random.integers(0, min(64, len(data)), 6):
            data[place] = int(random.integers(0, 256))
    return bytes(data)


def singles() -> Iterator[tuple[str, bytes]]:
    jpeg = whole_picture(np.random.default_rng(1), "JPEG")
    yield "SVG", SVG
    yield "SVG, packed", gzip.compress(SVG)
    yield "EPS", EPS
    yield "PDF", b"%PDF-1.7\n1 0 obj<</OpenAction<</S/Launch/F(/bin/sh)>>>>endobj\n%%EOF"
    yield "HTML", b"<html><script>fetch('http://127.0.0.1:1')</script></html>"
    yield "shell", b"#!/bin/sh\ntouch /tmp/was-here\n"
    yield "program", b"\x7fELF" + bytes(200)
    yield "pickle", b"cos\nsystem\n(S'touch /tmp/was-here'\ntR."
    yield "nothing but zeros", bytes(100_000)
    yield "one byte", b"\xff"
    yield "PNG's beginning", b"\x89PNG\r\n\x1a\n"
    yield "PNG bomb", png_of(30_000, 30_000, rows=30)
    yield "PNG bomb that is just allowed", png_of(1990, 2000, rows=2000)
    yield "PNG of no width", png_of(0, 64, rows=1)
    yield "PNG with a text bomb", png_of(8, 8, rows=8, text=bytes(60_000_000))
    yield "GIF bomb", b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\x00\x00" + bytes(6) + b"," + bytes(40)
    yield "TIFF with a loop", tiff_loop()
    yield "zip", zipped()
    yield "JPEG with a zip behind", jpeg + zipped()
    yield "JPEG with a page inside", jpeg[:2] + b"\xff\xfe\x00\x30<script>alert(1)</script>" + bytes(20) + jpeg[2:]
    yield "GIF that is a script", b"GIF89a/*" + bytes(50) + b"*/=1;alert(1)"
    yield "an address", b"http://127.0.0.1:1/me.png"
    yield "a path", b"/etc/passwd"
    yield "a card that is none", card({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    yield (
        "a card that claims much",
        card({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, b""),
    )
    yield "a card of a long head", struct.pack("<Q", 1 << 60) + b"{" + bytes(100)
    yield "a card without end", card({"__metadata__": {"facefact.card": "[" * 5000}}, b"")


def png_of(width: int, height: int, *, rows: int, text: bytes = b"") -> bytes:
    """A PNG that claims a size; rows: how many it has. text: a compressed one, unpacked that long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    words = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text)) if text else b""
    data = chunk(b"IDAT", zlib.compress(bytes((1 + 3 * width) * rows)))
    return b"\x89PNG\r\n\x1a\n" + head + words + data + chunk(b"IEND", b"")


def tiff_loop() -> bytes:
    """Its directory says that the next directory is itself."""
    entry = struct.pack("<HHII", 256, 4, 1, 64) + struct.pack("<HHII", 257, 4, 1, 64)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + entry + struct.pack("<I", 8)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../was-here", bytes(1_000_000))
    return out.getvalue()


def card(head: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


# Names that a form gives its files.
NAMES = (
    "../../../../etc/cron.d/x",
    "/etc/passwd",
    "..\\..\\x.png",
    "C:\\Windows\\x.png",
    "a\x00.png",
    "x" * 5000 + ".png",
    "~/.ssh/authorized_keys",
    "$(touch was-here).png",
    "me.png\r\nX-Evil: 1",
    "",
    ".",
    "%2e%2e%2fx.png",
    "\u202egnp.exe",
)
