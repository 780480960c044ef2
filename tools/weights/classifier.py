"""The classifier: EfficientNet-Lite0, converted from PyTorch's format to ONNX without PyTorch."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from onnx import ModelProto

from tools.weights.graph import Array, Graph, compute_same_padding

SIDE = 224
CLASSES = 1000
# The stride of each block, from the paper's table for Lite0
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
EPSILON = 1e-3
MAGIC = 0x1950A86A20F9469CFC6C
TYPES: dict[str, np.dtype[Any]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

Value = TypeVar("Value")


class _Tensor(NamedTuple):
    storage: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    """Reader of PyTorch's older format that calls no function named in the file."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.types: dict[str, np.dtype[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, start, shape, strides, *_: _Tensor(
                storage, start, shape, strides
            )
        if module == "torch" and name in TYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a file with weights")

    def persistent_load(self, saved: Any) -> str:
        _, kind, key, *_ = saved
        self.types[str(key)] = TYPES[str(kind)]
        return str(key)


def read(path: Path) -> dict[str, Array]:
    """Return the arrays in a PyTorch file by name, in 64 bits."""
    with path.open("rb") as file:
        magic, _, _ = (_Reader(file).load() for _ in range(3))
        assert magic == MAGIC, f"{path.name} is not in PyTorch's older format"
        reader = _Reader(file)
        tensors: dict[str, _Tensor] = reader.load()
        storages = {}
        for key in _Reader(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            storages[key] = file.read(count * reader.types[key].itemsize)
    arrays = {}
    for name, (storage, start, shape, strides) in tensors.items():
        kind = reader.types[storage]
        steps = [step * kind.itemsize for step in strides]
        found: Array = np.ndarray(shape, kind, storages[storage], start * kind.itemsize, steps)
        arrays[name] = found.astype(np.float64)
    return arrays


class Layers(Protocol[Value]):
    """The operations of the network, which an implementation writes into a graph or computes."""

    def conv(self, of: Value, weights: str, norm: str, stride: int = 1) -> Value: ...
    def relu6(self, of: Value) -> Value: ...
    def sum(self, one: Value, other: Value) -> Value: ...
    def classes(self, of: Value, weights: Array, bias: Array) -> Value: ...


def run_network(arrays: dict[str, Array], layers: Layers[Value], picture: Value) -> Value:
    """Run the layers. Return the probabilities of the thousand classes."""

    def conv(of: Value, weights: str, norm: str, stride: int = 1) -> Value:
        return layers.relu6(layers.conv(of, f"{weights}.weight", norm, stride))

    of = conv(picture, "_conv_stem", "_bn0", 2)
    channels = len(arrays["_conv_stem.weight"])
    for number, stride in enumerate(STRIDES):
        block = f"_blocks.{number}."
        before = of
        if f"{block}_expand_conv.weight" in arrays:
            of = conv(of, f"{block}_expand_conv", f"{block}_bn0")
        of = conv(of, f"{block}_depthwise_conv", f"{block}_bn1", stride)
        project = f"{block}_project_conv.weight"
        of = layers.conv(of, project, f"{block}_bn2")
        if stride == 1 and len(arrays[project]) == channels:
            of = layers.sum(before, of)
        channels = len(arrays[project])
    of = conv(of, "_conv_head", "_bn1")
    return layers.classes(of, arrays["_fc.weight"], arrays["_fc.bias"])


class _GraphLayers:
    """The layers as nodes of a graph; a batch norm becomes part of its convolution."""

    def __init__(self, arrays: dict[str, Array], graph: Graph) -> None:
        self._arrays, self._graph = arrays, graph

    def conv(self, of: str, weights: str, norm: str, stride: int = 1) -> str:
        gamma, beta, mean, variance = _get_norm(self._arrays, norm)
        scale = gamma / np.sqrt(variance + EPSILON)
        scaled = self._arrays[weights] * scale[:, None, None, None]
        return self._graph.conv(of, scaled, beta - mean * scale, stride)

    def relu6(self, of: str) -> str:
        return self._graph.relu6(of)

    def sum(self, one: str, other: str) -> str:
        return self._graph.add("Add", one, other)

    def classes(self, of: str, weights: Array, bias: Array) -> str:
        graph = self._graph
        flat = graph.add("Flatten", graph.add("GlobalAveragePool", of))
        last = graph.add(
            "Gemm", flat, graph.add_constant(weights), graph.add_constant(bias), transB=1
        )
        return graph.add("Softmax", last, axis=1)


class _ArrayLayers:
    """The layers computed directly, as in the original and with its numbers, for comparison."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def conv(self, of: Array, weights: str, norm: str, stride: int = 1) -> Array:
        by = self._arrays[weights]
        kernel = by.shape[2]
        before, after, side = compute_same_padding(of.shape[1], kernel, stride)
        padded = np.pad(of, ((0, 0), (before, after), (before, after)))
        out = np.zeros((len(by), side, side))
        for down in range(kernel):
            for across in range(kernel):
                seen = padded[:, down:, across:][:, ::stride, ::stride][:, :side, :side]
                if by.shape[1] == 1:
                    out += by[:, 0, down, across, None, None] * seen
                else:
                    out += np.tensordot(by[:, :, down, across], seen, 1)
        gamma, beta, mean, variance = (
            part[:, None, None] for part in _get_norm(self._arrays, norm)
        )
        return (out - mean) / np.sqrt(variance + EPSILON) * gamma + beta

    def relu6(self, of: Array) -> Array:
        return of.clip(0, 6)

    def sum(self, one: Array, other: Array) -> Array:
        return one + other

    def classes(self, of: Array, weights: Array, bias: Array) -> Array:
        last: Array = np.exp(weights @ of.mean((1, 2)) + bias)
        shares: Array = last / last.sum()
        return shares


def _get_norm(arrays: dict[str, Array], name: str) -> tuple[Array, Array, Array, Array]:
    gamma, beta, mean, variance = (
        arrays[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return gamma, beta, mean, variance


def read_weights(package: Path) -> dict[str, Array]:
    (path,) = package.glob("*/models/*.pth")
    return read(path)


def convert(package: Path, *, half: bool = True) -> ModelProto:
    """Return the model: pictures [1, 3, 224, 224] to the weights of the classes [1, 1000]."""
    arrays = read_weights(package)
    graph = Graph(SIDE, half=half)
    classes = run_network(arrays, _GraphLayers(arrays, graph), graph.input)
    return graph.to_model({"classes": classes}, [(1, CLASSES)])


def run_original(package: Path, pictures: Array) -> Array:
    """Compute the classes [n, 1000] of pictures [n, 3, 224, 224] with the original's numbers and operations."""
    arrays = read_weights(package)
    layers = _ArrayLayers(arrays)
    return np.stack(
        [run_network(arrays, layers, picture.astype(np.float64)) for picture in pictures]
    )
