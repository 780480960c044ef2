"""Tiny ONNX models, written field by field: the package onnx is not needed.

`turn_model` makes stand-ins for an end-of-turn model: their signature is smart-turn v3's, and their
answer is chosen by the test.
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

_FLOAT = 1


def _number(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 127
        found.append(low | (128 if value else 0))
        if not value:
            return bytes(found)


def _field(number: int, value: int | bytes | str) -> bytes:
    """Return one field of a protobuf message: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    content = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(content)) + content


def _value(name: str, shape: tuple[int | str, ...]) -> bytes:
    """Return a ValueInfoProto. A text in the shape is a length that is left open."""
    sizes = b"".join(
        _field(1, _field(1, one) if isinstance(one, int) else _field(2, one)) for one in shape
    )
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, sizes)))


def _constant(name: str, value: float) -> bytes:
    """Return a TensorProto of one number."""
    return _field(1, 1) + _field(2, _FLOAT) + _field(8, name) + _field(9, struct.pack("<f", value))


def _node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    names = b"".join(_field(1, one) for one in inputs)
    return names + _field(2, output) + _field(4, kind) + attributes


def _ints(name: str, values: tuple[int, ...]) -> bytes:
    whole = _field(1, name) + b"".join(_field(8, one) for one in values) + _field(20, 7)
    return _field(5, whole)


def _int(name: str, value: int) -> bytes:
    return _field(5, _field(1, name) + _field(3, value) + _field(20, 2))


def turn_model(
    likelihood: float | None = None,
    *,
    shape: tuple[int | str, ...] = ("batch", 80, 800),
    inputs: int = 1,
    raw: float | None = None,
) -> bytes:
    """Return a model that gives one likelihood for each picture.

    `likelihood`: always this one; None: the more, the louder the picture is on average. `raw`: this
    number in place of a likelihood. `shape`: that of its input; `inputs`: so many of them.
    """
    scale = 1.0 if likelihood is None and raw is None else 0.0
    offset = 0.0 if likelihood is None else math.log(likelihood / (1 - likelihood))
    offset = offset if raw is None else raw
    axes = tuple(range(1, len(shape)))
    nodes = [
        _node("ReduceMean", ["input_features"], "mean", _ints("axes", axes) + _int("keepdims", 0)),
        _node("Mul", ["mean", "scale"], "scaled"),
        _node("Add", ["scaled", "offset"], "sum"),
        _node("Identity" if raw is not None else "Sigmoid", ["sum"], "flat"),
        _node("Unsqueeze", ["flat"], "logits", _ints("axes", (1,))),
    ]
    graph = b"".join(_field(1, one) for one in nodes) + _field(2, "turn")
    graph += _field(5, _constant("scale", scale)) + _field(5, _constant("offset", offset))
    graph += _field(11, _value("input_features", shape))
    graph += b"".join(_field(11, _value(f"other{one}", (1,))) for one in range(1, inputs))
    graph += _field(12, _value("logits", (shape[0], 1)))
    # Version 11 of the operators, whose axes are attributes
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 11))


def written(folder: Path, model: bytes) -> tuple[Path, str]:
    """Write a model; its file and its checksum."""
    file = folder / "turn.onnx"
    file.write_bytes(model)
    return file, hashlib.sha256(model).hexdigest()
