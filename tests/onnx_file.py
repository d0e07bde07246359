"""An ONNX file written by hand, for what runs on ONNX Runtime; the package `onnx` is not needed.

Numbers of fields are those of onnx.proto: a model holds a graph, which holds nodes and constants.
"""

from __future__ import annotations

import numpy as np

FLOAT, INTS = 1, 7  # the type of a tensor; the type of an attribute


def number(value: int) -> bytes:
    """A protobuf varint."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def whole(field: int, value: int) -> bytes:
    return number(field << 3) + number(value)


def bytes_of(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return number(field << 3 | 2) + number(len(data)) + data


def node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> bytes:
    said = b"".join(bytes_of(1, one) for one in inputs) + bytes_of(2, output) + bytes_of(4, kind)
    for name, values in attributes.items():
        ints = b"".join(whole(8, value) for value in values)
        said += bytes_of(5, bytes_of(1, name) + ints + whole(20, INTS))
    return said


def described(name: str, shape: list[int | str]) -> bytes:
    """A graph's input or output; a word is a size that is free."""
    sizes = b"".join(bytes_of(1, whole(1, one) if isinstance(one, int) else bytes_of(2, one)) for one in shape)
    return bytes_of(1, name) + bytes_of(2, bytes_of(1, whole(1, FLOAT) + bytes_of(2, sizes)))


def constant(name: str, values: np.ndarray) -> bytes:
    sizes = b"".join(whole(1, size) for size in values.shape)
    return sizes + whole(2, FLOAT) + bytes_of(8, name) + bytes_of(9, values.astype("<f4").tobytes())


def pooled_colours(weights: np.ndarray, *, side: int, square: int) -> bytes:
    """(n, 3, side, side) -> (n, d): the mean of each square of each channel, times (3 * squares, d) weights."""
    nodes = [
        node("AveragePool", ["input.1"], "squares", kernel_shape=[square] * 2, strides=[square] * 2),
        node("Flatten", ["squares"], "flat"),
        node("MatMul", ["flat", "weights"], "embedding"),
    ]
    graph = (
        b"".join(bytes_of(1, one) for one in nodes) + bytes_of(2, "tiny") + bytes_of(5, constant("weights", weights))
    )
    graph += bytes_of(11, described("input.1", ["n", 3, side, side]))
    graph += bytes_of(12, described("embedding", ["n", weights.shape[1]]))
    return whole(1, 8) + bytes_of(7, graph) + bytes_of(8, whole(2, 13))
