"""Colours that a file declares without an ICC profile, as an ICC profile: PNG's cICP, sRGB, gAMA and cHRM, AVIF's nclx.

The later editions of the PNG specification say which counts: cICP, iCCP, sRGB, then gAMA and cHRM. The numbers of cICP
and nclx are those of ITU-T H.273.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from PIL import Image

Curve = Callable[[np.ndarray], np.ndarray]  # stored values in [0, 1] -> linear light, 1 is white
BROKEN = "what it says of its colours (cICP, nclx, gAMA or cHRM) makes no sense, and is ignored"

D50 = np.array([0.9642, 1.0, 0.8249])  # XYZ of the white that ICC profiles are about
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65, ILLUMINANT_C, DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
SMPTE_170M = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
PRIMARIES = {  # red, green, blue, white as x, y
    1: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), ILLUMINANT_C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: SMPTE_170M,
    7: SMPTE_170M,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: (*P3, DCI),
    12: (*P3, D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
UNSPECIFIED = (2, 3, 0)
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
LIKE_SRGB = (1, 6, 13, 14, 15)  # cameras' curves of video: browsers show them as sRGB, and so does this program
PQ, HLG = 16, 18
DIFFUSE_WHITE = 203.0  # cd/m2 that white has in HDR pictures (ITU-R BT.2408); what is brighter becomes white
TABLE = 4096
GAMMA_OF_SRGB, NEAR = 1 / 2.2, 0.005  # programs that mean sRGB write this as gAMA
HEADER = 1 << 20  # bytes in which the declarations of a file lie


def profile_of(image: Image.Image) -> tuple[bytes | None, str | None]:
    """The ICC profile of a PIL image that is not loaded yet (its own, or one that says what the file declares in other
    ways; None where nothing is said, or sRGB), and what is to be noted: BROKEN or None."""
    own = image.info.get("icc_profile")
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith(("I", "F"))
    try:
        codes = _codes(image)
        if codes is not None:
            return _coded(codes, grey=grey), None
        if own or image.format != "PNG" or "srgb" in image.info or not image.info.keys() & {"gamma", "chromaticity"}:
            return own, None
        return _measured(image.info.get("gamma"), image.info.get("chromaticity"), grey=grey), None
    except (ValueError, ArithmeticError, struct.error, np.linalg.LinAlgError):
        return own, BROKEN


# Four numbers: primaries, transfer, matrix, whether the values go from 0 to 255


def _coded(codes: tuple[int, int, int, bool], *, grey: bool) -> bytes | None:
    primaries, transfer, _, full = codes
    if primaries in UNSPECIFIED and transfer in UNSPECIFIED:
        return None
    points = SRGB if primaries in UNSPECIFIED else PRIMARIES.get(primaries)
    if points is None:
        raise ValueError(f"primaries {primaries}")
    if transfer in LIKE_SRGB or transfer in UNSPECIFIED:
        curve = None
    elif transfer in (PQ, HLG):
        curve = _table(_pq if transfer == PQ else _hlg)
    else:
        curve = _power(GAMMAS[transfer]) if transfer in GAMMAS else _unknown(transfer)
    if not full:
        curve = _table(_narrow({PQ: _pq, HLG: _hlg}.get(transfer) or _gamma(GAMMAS.get(transfer))))
    if points == SRGB and curve is None:
        return None
    return icc(points, curve or _srgb_curve(), grey=grey)


def _unknown(transfer: int) -> bytes:
    raise ValueError(f"transfer {transfer}")


def _codes(image: Image.Image) -> tuple[int, int, int, bool] | None:
    """Of a PNG's cICP, or of an AVIF's nclx where it has no ICC profile."""
    file = getattr(image, "fp", None)
    if file is None or image.format not in ("PNG", "AVIF"):
        return None
    content = _beginning(file)
    if image.format == "PNG":
        chunk = next((data for name, data in _chunks(content) if name == b"cICP"), None)
        return None if chunk is None else (chunk[0], chunk[1], chunk[2], bool(chunk[3]))
    if image.info.get("icc_profile"):
        return None
    for colour in _boxes_at(content, (b"meta", b"iprp", b"ipco", b"colr")):
        if colour[:4] == b"nclx":
            return (*struct.unpack(">HHH", colour[4:10]), True)  # type: ignore[return-value]  # (the decoder widens)
    return None


def _beginning(file: IO[bytes]) -> bytes:
    place = file.tell()
    try:
        file.seek(0)
        return file.read(HEADER)
    finally:
        file.seek(place)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of a PNG's chunks before the pixels. ValueError: one of four numbers has fewer."""
    at = 8
    while at + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        if name == b"IDAT":
            return
        data = content[at + 8 : at + 8 + length]
        if name == b"cICP" and len(data) != 4:
            raise ValueError("cICP")
        yield name, data
        at += 12 + length


def _boxes_at(content: bytes, names: tuple[bytes, ...]) -> Iterator[bytes]:
    """What is in the boxes that one comes to by these names, in ISO media files such as AVIF."""
    if not names:
        yield content
        return
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        if size < 8:  # to the end of the file, or of 64 bit: none of those that are looked for
            return
        if name == names[0]:
            inside = content[at + 8 + 4 * (name == b"meta") : at + size]  # (which begins with its version)
            yield from _boxes_at(inside, names[1:])
        at += size


# PNG's gamma and chromaticities


def _measured(gamma: float | None, points: Any, *, grey: bool) -> bytes | None:
    """gamma: the exponent of the camera, as gAMA has it. points: eight numbers x, y of white, red, green, blue."""
    white, *rgb = zip(points[::2], points[1::2], strict=True) if points else (D65, *SRGB[:3])
    places = (*rgb, white)
    usual = np.abs(np.subtract(places, SRGB)).max() < 0.001
    if gamma is not None and not 0.1 < gamma < 10:
        raise ValueError(f"gamma {gamma}")
    if gamma is None or (usual and abs(gamma - GAMMA_OF_SRGB) < NEAR):
        return None if usual else icc(places, _srgb_curve(), grey=grey)
    return icc(places, _power(1 / gamma), grey=grey)


# Curves


def _pq(value: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    power = value ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return np.minimum(10000 / DIFFUSE_WHITE * ratio ** (1 / 0.1593017578125), 1)


def _hlg(value: np.ndarray) -> np.ndarray:
    """ARIB STD-B67 on a screen of 1000 cd/m2 (its gamma of 1.2 by channel); white is at 0.75."""
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return np.minimum(1000 / DIFFUSE_WHITE * scene**1.2, 1)


def _gamma(exponent: float | None) -> Curve:
    """None: sRGB's."""
    if exponent is not None:
        return lambda value: value**exponent
    return lambda value: np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _narrow(curve: Curve) -> Curve:
    """Of values that go from 16 to 235."""
    return lambda value: curve(np.clip((value * 255 - 16) / 219, 0, 1))


def _table(curve: Curve) -> bytes:
    values = np.round(65535 * curve(np.linspace(0, 1, TABLE))).astype(">u2")
    return b"curv" + struct.pack(">II", 0, TABLE) + values.tobytes()


def _power(exponent: float) -> bytes:
    return b"para" + struct.pack(">IHH", 0, 0, 0) + _fixed(exponent)


def _srgb_curve() -> bytes:
    return b"para" + struct.pack(">IHH", 0, 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


# The profile


def icc(points: Any, curve: bytes, *, grey: bool = False) -> bytes:
    """An ICC profile (4.4) of red, green, blue and white (x, y each) and one curve for all channels. grey: of the one
    channel of a grey picture. ValueError: the points span no colours."""
    columns = np.stack([_xyz(one) for one in points], axis=1)
    primaries, white = columns[:, :3], columns[:, 3]
    if abs(np.linalg.det(primaries)) < 1e-6:
        raise ValueError("the primaries are on one line")
    adapted = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    matrix = adapted @ primaries * np.linalg.solve(primaries, white)
    tags = {b"desc": _text("declared by the file"), b"cprt": _text("CC0"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)}
    tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(*adapted.ravel())
    if grey:
        tags[b"kTRC"] = curve
    else:
        tags |= {
            name + b"XYZ": b"XYZ \0\0\0\0" + _fixed(*one)
            for name, one in zip((b"r", b"g", b"b"), matrix.T, strict=True)
        }
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    return _file(tags, b"GRAY" if grey else b"RGB ")


def _xyz(point: Any) -> np.ndarray:
    x, y = point
    if not (np.isfinite([x, y]).all() and y > 1e-4):
        raise ValueError(f"chromaticity {point}")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _file(tags: dict[bytes, bytes], space: bytes) -> bytes:
    """With the same content written once, whatever tags it has."""
    begin, table, data = 132 + 12 * len(tags), b"", b""
    places: dict[bytes, int] = {}
    for name, content in tags.items():
        if content not in places:
            places[content] = begin + len(data)
            data += content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", places[content], len(content))
    head = struct.pack(">I4xI4s4s4s", begin + len(data), 0x04400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _fixed(*D50)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + data


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(words: str) -> bytes:
    coded = words.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(coded), 28) + coded
