"""An ONNX graph of convolutions, built layer by layer, with weights stored in 16 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

Array = npt.NDArray[Any]
# Tensors with fewer values keep their precision.
LEAST = 256


def compute_same_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the padding before and after the data in TensorFlow's mode SAME, and the size of the result."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2, out


class Graph:
    """Nodes and weights of a model with one square picture as input, [1, 3, side, side].

    Values are identified by strings. The weights are converted to 32 bits when the model is loaded, so
    that it computes in 32 bits.
    """

    def __init__(self, side: int, *, half: bool = True) -> None:
        self.input = "picture"
        self._sides = {self.input: side}
        self._half = half
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one result, and return the result's name."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        if inputs[0] in self._sides:
            self._sides[name] = self._sides[inputs[0]]
        return name

    def add_constant(self, values: Array, *, exact: bool = False) -> str:
        """Store numbers, in 16 bits if there are many and they need not be exact."""
        name = f"weights_{len(self._weights)}"
        if values.dtype.kind != "f":
            self._weights.append(numpy_helper.from_array(values, name))
            return name
        if exact or not self._half or values.size < LEAST:
            self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
            return name
        self._weights.append(numpy_helper.from_array(values.astype(np.float16), name))
        return self.add("Cast", name, to=TensorProto.FLOAT)

    def conv(self, of: str, weights: Array, bias: Array, stride: int = 1) -> str:
        """Convolve with weights [out, in, kernel, kernel]; depthwise if "in" is 1 and "out" is larger."""
        out, per_group, kernel, _ = weights.shape
        before, after, side = compute_same_padding(self._sides[of], kernel, stride)
        name = self.add(
            "Conv",
            *(of, self.add_constant(weights), self.add_constant(bias)),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=out if per_group == 1 else 1,
        )
        self._sides[name] = side
        return name

    def relu6(self, of: str) -> str:
        bounds = [self.add_constant(np.array(bound, np.float32)) for bound in (0, 6)]
        return self.add("Clip", of, *bounds)

    def to_model(self, outputs: dict[str, str], shapes: Sequence[Sequence[int]]) -> ModelProto:
        """Return the finished model. `outputs`: values by the names of the outputs; `shapes`: of the outputs."""
        for name, value in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))

        def make_info(name: str, shape: Sequence[int]) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        side = self._sides[self.input]
        graph = helper.make_graph(
            self._nodes,
            "things",
            [make_info(self.input, (1, 3, side, side))],
            [make_info(name, shape) for name, shape in zip(outputs, shapes, strict=True)],
            self._weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        made.ir_version = 8
        checker.check_model(made, full_check=True)
        return made
