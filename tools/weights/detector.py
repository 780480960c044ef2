"""The detector: SSDLite with MobileNetV2, converted from TensorFlow.js files to ONNX.

The preprocessing (resizing and scaling of pictures) and the postprocessing (selection of boxes)
are left out. A batch norm becomes part of the convolution before it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from tools.weights.graph import Array, Graph

SIDE = 300
CLASSES = 90
ANCHORS = 1917
# The picture as the network gets it: 300x300, RGB, -1 to 1.
INPUT = "Preprocessor/sub"
LAYERS = 6
FOLDER = Path("package") / "models" / "coco-ssd"


@dataclass(frozen=True)
class _Sum:
    """A convolution that is not written yet, with the terms to add to its result."""

    of: str
    weights: Array
    bias: Array
    stride: int
    plus: tuple[str, ...] = ()

    def scale(self, by: Array, more: Array | float = 0.0) -> _Sum:
        assert not self.plus
        return replace(
            self, weights=self.weights * by[:, None, None, None], bias=self.bias * by + more
        )


class _Reader:
    """Converter that follows the graph of TensorFlow.js back from a node, and writes it into `graph`."""

    def __init__(self, folder: Path, graph: Graph) -> None:
        description = json.loads((folder / "model.json").read_text("utf-8"))
        self._nodes = {node["name"]: node for node in description["modelTopology"]["node"]}
        (group,) = description["weightsManifest"]
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        self.constants: dict[str, Array] = {}
        at = 0
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            found = np.frombuffer(data, np.dtype(entry["dtype"]).newbyteorder("<"), count, at)
            at += found.nbytes
            # Use 64 bits, so that merging two operations loses no precision.
            kind = np.float64 if found.dtype.kind == "f" else np.int64
            self.constants[entry["name"]] = found.reshape(entry["shape"]).astype(kind)
        assert at == len(data), "model.json does not match its weights"
        self._graph = graph
        self._read: dict[str, str | _Sum] = {INPUT: graph.input}
        self._written: dict[str, str] = {}

    def get_value(self, name: str) -> str:
        """Return the value in the new graph for a node of the original."""
        if name not in self._written:
            found = self._read_node(name)
            if isinstance(found, _Sum):
                sum_ = self._graph.conv(found.of, found.weights, found.bias, found.stride)
                for other in found.plus:
                    sum_ = self._graph.add("Add", sum_, other)
                found = sum_
            self._written[name] = found
        return self._written[name]

    def _read_node(self, name: str) -> str | _Sum:
        if name not in self._read:
            self._read[name] = self._translate(self._nodes[name])
        return self._read[name]

    def _translate(self, node: dict[str, Any]) -> str | _Sum:
        kind, inputs = node["op"], node["input"]
        if kind == "Relu6":
            return self._graph.relu6(self.get_value(inputs[0]))
        if kind in ("Conv2D", "DepthwiseConv2dNative"):
            return self._read_convolution(node)
        constants = [self.constants[name] for name in inputs if name in self.constants]
        others = [name for name in inputs if name not in self.constants]
        if kind == "AddN" or not constants:
            assert kind in ("Add", "AddN"), kind
            return self._merge_added(others)
        done = self._read_node(others[0])
        assert isinstance(done, _Sum), f"{node['name']} follows no convolution"
        if kind == "Mul":
            return done.scale(constants[0])
        if kind in ("Add", "BiasAdd"):
            return replace(done, bias=done.bias + constants[0])
        assert kind == "FusedBatchNorm", kind
        gamma, beta, mean, variance = constants
        scale = gamma / np.sqrt(variance + node["attr"]["epsilon"]["f"])
        return done.scale(scale, beta - mean * scale)

    def _merge_added(self, names: list[str]) -> _Sum:
        """Merge the added terms into the convolution among them."""
        for name in names:
            term = self._read_node(name)
            if isinstance(term, _Sum) and name not in self._written and not term.plus:
                others = tuple(self.get_value(other) for other in names if other != name)
                return replace(term, plus=others)
        raise AssertionError(f"no convolution among {names}")

    def _read_convolution(self, node: dict[str, Any]) -> _Sum:
        of, name = node["input"]
        attributes = node["attr"]
        _, down, across, _ = (int(step) for step in attributes["strides"]["list"]["i"])
        assert down == across
        assert {int(step) for step in attributes["dilations"]["list"]["i"]} == {1}
        assert bytes(attributes["padding"]["s"]) == b"SAME"
        # [height, width, in, out]; depthwise [height, width, in, 1]
        depthwise = node["op"] != "Conv2D"
        weights = self.constants[name].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        return _Sum(self.get_value(of), weights, np.zeros(len(weights)), down)


def convert(package: Path, *, half: bool = True) -> ModelProto:
    """Return the model: pictures [1, 3, 300, 300] to scores [1, 1917, 90] and boxes [1, 1917, 1, 4].

    A box is top, left, bottom, right in 0 to 1.
    """
    graph = Graph(SIDE, half=half)
    reader = _Reader(package / FOLDER, graph)

    def add_prediction(what: str, shape: tuple[int, ...]) -> str:
        layers = []
        for layer in range(LAYERS):
            of = reader.get_value(f"BoxPredictor_{layer}/{what}/BiasAdd")
            of = graph.add("Transpose", of, perm=[0, 2, 3, 1])
            layers.append(graph.add("Reshape", of, graph.add_constant(np.array(shape, np.int64))))
        return graph.add("Concat", *layers, axis=1)

    scores = graph.add("Sigmoid", add_prediction("ClassPredictor", (1, -1, CLASSES + 1)))
    # The first class is the background.
    bounds = [graph.add_constant(np.array([bound], np.int64)) for bound in (1, CLASSES + 1, 2)]
    scores = graph.add("Slice", scores, *bounds)

    # Middle and size of a box, in those of its anchor (top, left, bottom, right)
    anchors = reader.constants["Postprocessor/ExpandDims"][:, :, None]
    low, high = anchors[..., :2], anchors[..., 2:]
    folded = "ConstantFolding/Postprocessor/Decode"
    by_middle = reader.constants[f"{folded}/div_recip"]
    by_size = reader.constants[f"{folded}/div_2_recip"]

    def add_exact(values: Array) -> str:
        return graph.add_constant(np.asarray(values), exact=True)

    boxes = add_prediction("BoxEncodingPredictor", (1, -1, 1, 4))

    def add_part(first: int) -> str:
        bounds = [
            graph.add_constant(np.array([bound], np.int64)) for bound in (first, first + 2, 3)
        ]
        return graph.add("Slice", boxes, *bounds)

    middle = graph.add("Mul", add_part(0), add_exact((high - low) * by_middle))
    middle = graph.add("Add", middle, add_exact((low + high) / 2))
    size = graph.add("Exp", graph.add("Mul", add_part(2), add_exact(by_size)))
    size = graph.add("Mul", size, add_exact((high - low) / 2))
    corners = [graph.add(way, middle, size) for way in ("Sub", "Add")]
    return graph.to_model(
        {"scores": scores, "boxes": graph.add("Concat", *corners, axis=3)},
        [(1, ANCHORS, CLASSES), (1, ANCHORS, 1, 4)],
    )
