"""`network.onnx`: the network in standard ONNX, and no float operator from pixel to logit.

    codes → ConvInteger / MatMulInteger → Add bias → Max 0 (ReLU) → shift → Add z → Min → Cast

The shift is the scheme's own. BitShift takes unsigned integers only, so where an accumulator may be
negative a multiple of 2^(n+1) lifts it above zero first, and its 2^n-th part is taken off after:
an even number, so that `half_even` still sees whether a result is odd.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from powtwo.export.onnx.graph import Graph, parameters, pixels_input, sliding
from powtwo.export.steps import require_stack
from powtwo.integer.fixedpoint import by_channel
from powtwo.integer.layer import INT32_LIMIT, Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding, half_unit


def to_onnx(network: IntegerNetwork) -> onnx.ModelProto:
    """Return the model: uint8 `pixels` (N, C, H, W) in, `logits` (N, classes) out.

    The logits are int32, or uint8 codes where the scheme asks for them. Tensors in between are
    named `layer<i>.<role>`; `layer<i>` is the output of a layer.

    Raises:
        UnsupportedError: where a layer is of a kind unknown here.
    """
    require_stack(network, "network.onnx")
    graph = Graph("network.onnx")
    table = network.input.table()
    x = "pixels" if table is None else graph.look_up(table, "input")
    for index, layer in enumerate(network.layers):
        name = f"layer{index}"
        if layer.has_weights:
            x = _weighted(graph, layer, network.rounding, x, name)
        else:
            x = graph.pool_or_flatten(layer, x, name)
    ends_in_codes = network.last_sums.output is not None
    logits = TensorProto.UINT8 if ends_in_codes else TensorProto.INT32
    return graph.model(network, pixels_input(network), logits, network.rounding)


def _weighted(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    x = _accumulate(graph, layer, x, name)
    if layer.relu:
        x = graph.with_constant("Max", x, 0, np.int32, f"{name}.relu")
    return x if layer.output is None else _requantize(graph, layer, rounding, x, name)


def _accumulate(graph: Graph, layer: Layer, x: str, name: str) -> str:
    """Add Σ (x − z) · w + b: int32 (N, O, H, W) or (N, O)."""
    assert layer.input is not None
    weight, bias = parameters(layer)
    zero_point = graph.constant(f"{name}.input_zero_point", layer.input.zero_point, np.uint8)
    if layer.kind == "conv2d":
        # A padded position holds the zero point: the operator says so, both runtimes do so.
        inputs = [x, graph.constant(f"{name}.weight", weight.numpy(), np.int8), zero_point]
        sums = graph.node("ConvInteger", inputs, f"{name}.sum", **sliding(layer))
    else:
        inputs = [x, graph.constant(f"{name}.weight", weight.T.numpy(), np.int8), zero_point]
        sums = graph.node("MatMulInteger", inputs, f"{name}.sum")
    values = by_channel(bias, weight.dim())
    return graph.with_constant("Add", sums, values, np.int32, f"{name}.accumulator")


def _requantize(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    assert layer.output is not None
    lift = _lift(layer)
    wide = int(layer.bound.max()) + int(lift.max()) >= INT32_LIMIT
    x = _Shift(graph, layer, lift, wide, name)(x, rounding)
    dtype, grid = (np.int64 if wide else np.int32), layer.output.grid
    if not layer.relu:  # after ReLU nothing lies below the zero point
        x = graph.with_constant("Max", x, grid.quant_min, dtype, f"{name}.low")
    x = graph.with_constant("Min", x, grid.quant_max, dtype, f"{name}.high")
    return graph.cast(x, TensorProto.UINT8, name)


def _lift(layer: Layer) -> Tensor:
    """Return the multiple of 2^(n+1) that leaves no accumulator negative, int64 () or (O,)."""
    if layer.relu:
        return torch.zeros_like(layer.shift)
    return -(-layer.bound.max() >> (layer.shift + 1)) << (layer.shift + 1)


class _Shift:
    """shift(a, n) + z in the operators of ONNX, in 64 bits where 32 are not enough."""

    def __init__(self, graph: Graph, layer: Layer, lift: Tensor, wide: bool, name: str) -> None:
        assert layer.output is not None
        self.graph, self.name, self.n, self.lift = graph, name, layer.shift, lift
        self.zero_point, self.dimensions = layer.output.zero_point, parameters(layer)[0].dim()
        self.wide = wide
        self.signed = (TensorProto.INT64, np.int64) if wide else (TensorProto.INT32, np.int32)
        self.unsigned = (TensorProto.UINT64, np.uint64) if wide else (TensorProto.UINT32, np.uint32)

    def __call__(self, x: str, rounding: Rounding) -> str:
        x = self.graph.cast(x, self.signed[0], f"{self.name}.wide") if self.wide else x
        x = self._add(x, self.lift, "lift")
        if bool(self.lift.any()):
            # Nothing is below 0. OpenVINO, which divides to shift, would else divide as floats do.
            x = self.graph.with_constant("Max", x, 0, self.signed[1], f"{self.name}.lifted")
        if rounding is Rounding.HALF_EVEN:
            # Just under half for an even result, half for an odd one; nothing where n is 0.
            just_under = self._add(x, (half_unit(self.n) - 1).clamp(min=0), "half")
            x = self.graph.node("Add", [just_under, self._odd(x)], f"{self.name}.tie")
        else:
            constant = rounding.bias_constant(self.n)
            assert constant is not None
            x = self._add(x, constant, "half")
        x = self.graph.cast(self._right(x, "shift"), self.signed[0], f"{self.name}.shifted")
        return self._add(x, self.zero_point - (self.lift >> self.n), "code")

    def _add(self, x: str, values: Tensor, role: str) -> str:
        if not bool(values.any()):
            return x
        return self._with("Add", x, values, self.signed[1], role)

    def _right(self, x: str, role: str) -> str:
        x = self.graph.cast(x, self.unsigned[0], f"{self.name}.{role}.unsigned")
        n = by_channel(self.n, self.dimensions)
        by = self.graph.constant(f"{self.name}.{role}.n", n, self.unsigned[1])
        return self.graph.node("BitShift", [x, by], f"{self.name}.{role}", direction="RIGHT")

    def _odd(self, x: str) -> str:
        """Return 1 where the floor of x / 2^n is odd and there is a shift at all, else 0."""
        odd = self._with(
            "BitwiseAnd", self._right(x, "floor"), self.n > 0, self.unsigned[1], "odd.bit"
        )
        return self.graph.cast(odd, self.signed[0], f"{self.name}.odd")

    def _with(self, kind: str, x: str, values: Tensor, dtype: npt.DTypeLike, role: str) -> str:
        by = by_channel(values, self.dimensions)
        return self.graph.with_constant(kind, x, by, dtype, f"{self.name}.{role}")
