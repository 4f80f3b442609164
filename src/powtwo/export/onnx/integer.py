"""`network.onnx`: the network in standard ONNX, and no float operator from pixel to logit.

    codes → ConvInteger / MatMulInteger → Add bias → Max 0 (ReLU) → shift → Add z → Min → Cast

An average is a ConvInteger with ones; an addition casts codes to int32, and multiplies the coarser
ones by a power of two.

The shift is the scheme's own. BitShift takes unsigned integers only, so where an accumulator may be
negative a multiple of 2^(n+1) lifts it above zero first, and its 2^n-th part is taken off after:
an even number, so that `half_even` still sees whether a result is odd.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from powtwo.core.graph import IMAGE
from powtwo.core.windows import four, pair
from powtwo.export.onnx.graph import Graph, parameters, pixels_input, sliding
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
    graph = Graph("network.onnx")
    table = network.input.table()
    names = {IMAGE: "pixels" if table is None else graph.look_up(table, "input")}
    for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        name, inputs = f"layer{index}", [names[source] for source in sources]
        if layer.accumulates:
            channels = network.channels(sources[0]) if layer.kind == "avgpool2d" else 0
            sums = _Sums(graph, layer, name, channels)
            names[index] = _output(graph, layer, network.rounding, sums(*inputs), name)
        else:
            names[index] = _pool_or_flatten(graph, layer, inputs[0], name)
    ends_in_codes = network.last_sums.output is not None
    logits = TensorProto.UINT8 if ends_in_codes else TensorProto.INT32
    return graph.model(network, pixels_input(network), logits, network.rounding)


def _pool_or_flatten(graph: Graph, layer: Layer, x: str, name: str) -> str:
    """Add a flattening, or a max pooling: not every runtime pads bytes with what is lowest."""
    if layer.kind == "maxpool2d" and any(four(layer.padding)):
        x, layer = graph.pad(x, layer, 0, np.uint8, name), replace(layer, padding=0)
    return graph.pool_or_flatten(layer, x, name)


def _output(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    if layer.relu:
        x = graph.with_constant("Max", x, 0, np.int32, f"{name}.relu")
    return x if layer.output is None else _requantize(graph, layer, rounding, x, name)


class _Sums:
    """The int32 accumulators of a layer."""

    def __init__(self, graph: Graph, layer: Layer, name: str, channels: int) -> None:
        self.graph, self.layer, self.name, self.channels = graph, layer, name, channels

    def __call__(self, *inputs: str) -> str:
        """Add them for the names of codes (N, C, H, W) or (N, I)."""
        if self.layer.kind == "add":
            return self._added(*inputs)
        (x,) = inputs
        return self._averaged(x) if self.layer.kind == "avgpool2d" else self._weighted(x)

    def _weighted(self, x: str) -> str:
        """Add Σ (x − z) · w + b: int32 (N, O, H, W) or (N, O)."""
        weight, bias = parameters(self.layer)
        sums = self._products(x, weight.numpy(), self.layer.groups)
        return self.graph.with_constant(
            "Add", sums, by_channel(bias, weight.dim()), np.int32, f"{self.name}.accumulator"
        )

    def _averaged(self, x: str) -> str:
        """Add Σ (x − z): a convolution of each channel with ones."""
        ones = np.ones((self.channels, 1, *pair(self.layer.kernel)), np.int8)
        return self._products(x, ones, self.channels)

    def _products(self, x: str, weight: npt.NDArray[np.int8], groups: int) -> str:
        graph, layer, name = self.graph, self.layer, self.name
        assert layer.input is not None
        zero_point = graph.constant(f"{name}.input_zero_point", layer.input.zero_point, np.uint8)
        if weight.ndim == 2:
            inputs = [x, graph.constant(f"{name}.weight", weight.T, np.int8), zero_point]
            return graph.node("MatMulInteger", inputs, f"{name}.sum")
        # A padded position holds the zero point: the operator says so, both runtimes do so.
        inputs = [x, graph.constant(f"{name}.weight", weight, np.int8), zero_point]
        attributes = sliding(layer) | ({"group": groups} if groups > 1 else {})
        return graph.node("ConvInteger", inputs, f"{name}.sum", **attributes)

    def _added(self, *inputs: str) -> str:
        """Add Σ (x − z) · gain of both inputs."""
        graph, layer, name, zero = self.graph, self.layer, self.name, 0
        terms = []
        for side, (x, read, gain) in enumerate(zip(inputs, layer.reads, layer.gains, strict=True)):
            term = graph.cast(x, TensorProto.INT32, f"{name}.{side}")
            if gain > 1:
                term = graph.with_constant("Mul", term, gain, np.int32, f"{name}.{side}.scaled")
            terms.append(term)
            zero += read.zero_point * gain
        x = graph.node("Add", terms, f"{name}.sum")
        return graph.with_constant("Sub", x, zero, np.int32, f"{name}.accumulator") if zero else x


def _requantize(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    assert layer.output is not None
    lift = _lift(layer)
    wide = int(layer.bound.max()) + int(lift.max()) >= INT32_LIMIT
    x = _Shift(graph, layer, lift, wide, name)(x, rounding)
    dtype, grid = (np.int64 if wide else np.int32), layer.output.grid
    if not layer.relu:  # after ReLU nothing lies below the zero point
        x = graph.with_constant("Max", x, grid.quant_min, dtype, f"{name}.low")
    x = graph.with_constant("Min", x, layer.largest_code, dtype, f"{name}.high")
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
        self.zero_point = layer.output.zero_point
        self.dimensions = 2 if layer.weight is None else layer.weight.dim()
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
