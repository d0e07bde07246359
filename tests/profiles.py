"""ICC profiles from primaries, what their colours are in sRGB, and PNGs with chunks about colour: written from the
standards, without the code under test."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256
D65, D50 = np.array([0.3127, 0.3290]), np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def xyz(xy: np.ndarray) -> np.ndarray:
    return np.array([xy[0] / xy[1], 1.0, (1 - xy[0] - xy[1]) / xy[1]])


def to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(3, 3): linear RGB -> XYZ under D65."""
    columns = np.stack([xyz(np.array(one)) for one in primaries], axis=1)
    return columns * np.linalg.solve(columns, xyz(D65))


def icc(primaries: tuple[tuple[float, float], ...], gamma: float | None, *, grey: bool = False) -> bytes:
    """A matrix profile (grey: of one channel). gamma: None for the curve of sRGB."""
    scale = np.diag((BRADFORD @ D50) / (BRADFORD @ xyz(D65)))
    matrix = np.linalg.inv(BRADFORD) @ scale @ BRADFORD @ to_xyz(primaries)
    curve = (
        b"para" + struct.pack(">IHHi", 0, 0, 0, round(gamma * 65536))
        if gamma
        else b"para"
        + struct.pack(
            ">IHH5i", 0, 3, 0, *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
        )
    )
    tags = {b"desc": b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, 8, 28) + "test".encode("utf-16-be")}
    tags[b"wtpt"] = number_triple(D50)
    if grey:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip("rgb", matrix.T, strict=True):
            tags[name.encode() + b"XYZ"], tags[name.encode() + b"TRC"] = number_triple(column), curve
    offset, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", offset + len(data), len(content))
        data += content
    space = b"GRAY" if grey else b"RGB "
    head = struct.pack(">I4sI4s4s4s", offset + len(data), b"\0\0\0\0", 0x04200000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(v * 65536) for v in D50))
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + data


def number_triple(values: np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *(round(v * 65536) for v in values))


def in_srgb(stored: np.ndarray, primaries: tuple[tuple[float, float], ...], gamma: float | None) -> np.ndarray:
    """(..., 3) values in 0..255 of a picture with such a profile -> (..., 3) floats in 0..255, in sRGB."""
    value = np.asarray(stored) / 255
    linear = value**gamma if gamma else np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def png(*chunks: tuple[bytes, bytes], pixels: np.ndarray) -> bytes:
    """An RGB or grey PNG with these chunks before its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in body)


def cicp(primaries: int, transfer: int, *, full: int = 1) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, full])
