"""`network.qonnx.onnx`: float operators between QONNX Quant nodes, as FINN and hls4ml read them.

Every zero point is 0: a code is x̄ − 2^(bits−1), signed. After a ReLU it is never negative, and the
Quant node is unsigned with one bit less, which is all that FINN accepts there. Quant nodes round
as the scheme does: FLOOR or ROUND (half to even), which is all that hls4ml knows. A bias holds what
`half_up` adds before it floors, as in the exports for C and RTL.

FINN puts thresholds at half a step whatever a Quant node says. A file for it has half a unit in
each bias, so that no sum lies on a threshold, and is less by half a step where the scheme floors.

Sources:
1. https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops
2. `_calculate_precision_quantizer` in https://github.com/fastmachinelearning/hls4ml/blob/v1.3.0/hls4ml/model/optimizer/passes/quant_opt.py
3. `_calculate_thresholds` in https://github.com/Xilinx/finn/blob/main/src/finn/transformation/qonnx/qonnx_activation_handlers.py
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from powtwo.core.graph import IMAGE
from powtwo.core.windows import average_bits, pair
from powtwo.export.onnx.graph import Graph, lowest_value, parameters, sliding
from powtwo.export.onnx.qdq import weightless
from powtwo.export.steps import FOLDED, UnsupportedError, folded_bias
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

FILE = "network.qonnx.onnx"
DOMAIN = "qonnx.custom_op.general"
ROUNDING_MODES = {  # QONNX's words
    Rounding.FLOOR: "FLOOR",
    Rounding.HALF_UP: "FLOOR",  # of a bias that holds the half
    Rounding.HALF_EVEN: "ROUND",
}
BIAS_BITS = 32
PLAIN: dict[str, Any] = {"dilations": [1, 1], "group": 1}  # a convolution; hls4ml has no defaults


def to_qonnx(network: IntegerNetwork, *, for_finn: bool = False) -> onnx.ModelProto:
    """Return the model: float32 `values` (1, C, H, W) in, float32 `logits` (1, classes) out.

    The input is what the network sees of an image, 2^e · (code − zero point): with dyadic
    normalization pixel / 128 − 1. A logit is the value that the integer network's stands for.

    Args:
        network: the network.
        for_finn: place sums as FINN's thresholds need them.

    Raises:
        UnsupportedError: where a zero point is neither 0 nor the middle, where float32, in which
            these tools compute, is not exact, or where FINN has no such rounding or code.
    """
    graph = Graph(FILE)
    _check_zero_point("the input", network.input.codes)
    names = {IMAGE: _quant(graph, "values", _activation(network.input.codes), "input")}
    for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        name, inputs = f"layer{index}", [names[source] for source in sources]
        if layer.accumulates:
            _check(index, layer, network)
            if for_finn:
                _check_for_finn(index, layer, network)
        if layer.has_weights:
            names[index] = _weighted(graph, layer, network.rounding, for_finn, inputs[0], name)
        elif layer.accumulates:
            x = _weightless(graph, layer, inputs, network.channels(sources[0]), name)
            names[index] = _requantized(graph, layer, network.rounding, x, name)
        else:
            names[index] = graph.padded_pool(
                layer, inputs[0], lowest_value(network.codes(index)), name
            )
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, [1, *network.input.shape])
    rounding, metadata = network.rounding, {}
    if for_finn:
        metadata = {"bias": "no sum lies half way between two codes: for FINN's thresholds"}
    elif rounding.folds:
        rounding, metadata = Rounding.FLOOR, {"bias": FOLDED}
    return graph.model(
        network, values, TensorProto.FLOAT, rounding, metadata=metadata, domains=[DOMAIN]
    )


def _check(index: int, layer: Layer, network: IntegerNetwork) -> None:
    if (bound := int(network.accumulator_bound(index).max())) >= fixedpoint.FLOAT32_EXACT:
        raise UnsupportedError(
            f"{FILE}: layer {index}: sums of up to {bound}: float32, in which "
            "QONNX tools compute, is exact below 2^24; use fewer bits"
        )
    if layer.output is None:
        return
    _check_zero_point(f"layer {index}", layer.output)


def _check_for_finn(index: int, layer: Layer, network: IntegerNetwork) -> None:
    if not layer.has_weights or layer.maximum is not None:
        raise UnsupportedError(
            f"{FILE}: layer {index}: additions, averages and ReLU6 are not written for FINN yet; "
            "use the plain file"
        )
    if network.rounding is Rounding.HALF_EVEN:
        raise UnsupportedError(
            f"{FILE}: rounding = 'half_even': FINN's thresholds round halves up; use floor or "
            "half_up"
        )
    if layer.output is not None and not layer.output.zero_point and not layer.relu:
        raise UnsupportedError(
            f"{FILE}: layer {index}: zero_point = 0 without ReLU: FINN takes signed codes there; "
            f"it must be {1 << (layer.output.bits - 1)}"
        )
    if 2 * int(network.accumulator_bound(index).max()) >= fixedpoint.FLOAT32_EXACT:
        raise UnsupportedError(
            f"{FILE}: layer {index}: sums for FINN have a half: they must stay below 2^23; "
            "use fewer bits"
        )


def _check_zero_point(where: str, codes: ActivationQParams) -> None:
    if codes.zero_point not in (0, 2 ** (codes.bits - 1)):
        raise UnsupportedError(
            f"{FILE}: {where}: zero_point = {codes.zero_point}: QONNX tools need codes that start "
            f"or are centered at 0, so it must be 0 or {2 ** (codes.bits - 1)}"
        )


def _weighted(  # noqa: PLR0917
    graph: Graph, layer: Layer, rounding: Rounding, for_finn: bool, x: str, name: str
) -> str:
    halves = for_finn and layer.output is not None
    biases = folded_bias(layer, rounding).double()
    if halves and (constant := rounding.after_half_even(layer.shift)) is not None:
        biases = parameters(layer)[1] + constant
    x = _accumulate(graph, layer, biases, int(halves), x, name)
    x = graph.node("Relu", [x], f"{name}.relu") if layer.relu else x
    if layer.output is None:
        return x
    quant = _activation(layer.output, layer.relu, "ROUND" if halves else ROUNDING_MODES[rounding])
    return _quant(graph, _cut(graph, layer, x, name), quant, f"{name}.output")


def _weightless(graph: Graph, layer: Layer, inputs: list[str], channels: int, name: str) -> str:
    if layer.kind == "add" or not _is_odd(layer):
        return weightless(graph, layer, inputs, channels, name)
    ones = np.ones((channels, 1, *pair(layer.kernel)))
    exponent = -average_bits(layer.kernel)
    values = torch.from_numpy(ones * 2.0**exponent)
    quant = _Quant(torch.tensor(exponent), 2, narrow=True)
    weight = _parameter(graph, values, quant, f"{name}.weight")
    attributes = sliding(layer) | PLAIN | {"group": channels}
    x = graph.node("Conv", [*inputs, weight], name, **attributes)
    return graph.node("Relu", [x], f"{name}.relu") if layer.relu else x


def _is_odd(layer: Layer) -> bool:
    """Tell whether an average's positions are no power of two."""
    return prod(pair(layer.kernel)) != 1 << average_bits(layer.kernel)


def _requantized(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    """Add the Quant of a layer without a bias, and before it what `half_up` adds."""
    if layer.output is None:
        return x
    if rounding.folds and (half := int(layer.half_unit)):
        value = half * float(fixedpoint.power_of_two(layer.accumulator_exponent))
        x = graph.with_constant("Add", x, value, np.float32, f"{name}.half")
    quant = _activation(layer.output, layer.relu, ROUNDING_MODES[rounding])
    return _quant(graph, _cut(graph, layer, x, name), quant, f"{name}.output")


def _cut(graph: Graph, layer: Layer, x: str, name: str) -> str:
    """Add the Clip of a ReLU6, at the value of the largest code."""
    if layer.maximum is None or layer.output is None:
        return x
    steps = layer.maximum - layer.output.zero_point
    value = steps * float(fixedpoint.power_of_two(layer.output.exponent))
    ends = {"low": 0, "high": value}  # a ReLU came before; tools want both
    limits = [graph.constant(f"{name}.cut.{key}", end, np.float32) for key, end in ends.items()]
    return graph.node("Clip", [x, *limits], f"{name}.cut")


def _accumulate(  # noqa: PLR0917
    graph: Graph, layer: Layer, biases: Tensor, halves: int, x: str, name: str
) -> str:
    values = layer.weight_values
    if layer.kind == "linear":
        values = values.T  # (I, O), as MatMul wants it
    # hls4ml's types have one binary point a tensor. Where exponents differ by channel, all values
    # are multiples of the finest step, in more bits.
    exponents = torch.tensor(layer.weight_exponent)
    finest, more = exponents.min(), int(exponents.max() - exponents.min())
    assert layer.weight is not None
    lowest = int(layer.weight.min()) == -(2 ** (layer.weight_bits - 1))  # −2^7 alone is one
    quant = _Quant(finest, layer.weight_bits + more, narrow=not lowest)
    weight = _parameter(graph, values, quant, f"{name}.weight")
    # FINN's first step, qonnx's ExtractBiasFromConv, cannot reshape a number of no dimension.
    finest = layer.accumulator_exponent.min().reshape(1) - halves
    values = biases * fixedpoint.power_of_two(layer.accumulator_exponent)
    quant = _Quant(finest, BIAS_BITS + more + halves, zero_point=[0])
    bias = _parameter(graph, values, quant, f"{name}.bias")
    if layer.kind == "linear":
        return graph.node("Add", [graph.node("MatMul", [x, weight], f"{name}.product"), bias], name)
    return graph.node(
        "Conv", [x, weight, bias], name, **sliding(layer), **PLAIN | {"group": layer.groups}
    )


@dataclass(frozen=True)
class _Quant:
    """What a Quant node does."""

    exponent: Tensor  # () or (1,)
    bits: int
    signed: bool = True
    narrow: bool = False  # without the lowest code
    rounding: str = "ROUND"
    zero_point: Any = 0  # or [0]


def _activation(codes: ActivationQParams, relu: bool = False, rounding: str = "ROUND") -> _Quant:
    signed = codes.zero_point > 0
    bits = codes.bits - 1 if signed and relu else codes.bits
    return _Quant(torch.tensor(codes.exponent), bits, signed and not relu, rounding=rounding)


def _parameter(graph: Graph, values: Tensor, quant: _Quant, name: str) -> str:
    """Add the values of weights or biases, which lie on their grid already, and a Quant."""
    constant = graph.constant(f"{name}.values", values.numpy(), np.float32)
    return _quant(graph, constant, quant, name)


def _quant(graph: Graph, x: str, quant: _Quant, name: str) -> str:
    inputs = [
        x,
        graph.scale(f"{name}.scale", quant.exponent),
        graph.constant(f"{name}.zero_point", quant.zero_point, np.float32),
        graph.constant(f"{name}.bits", quant.bits, np.float32),
    ]
    kinds = {"signed": int(quant.signed), "narrow": int(quant.narrow)}
    return graph.node("Quant", inputs, name, domain=DOMAIN, rounding_mode=quant.rounding, **kinds)
