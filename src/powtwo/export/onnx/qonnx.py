"""`network.qonnx.onnx`: float operators between QONNX Quant nodes, as FINN and hls4ml read them.

Every zero point is 0: a code is x̄ − 2^(bits−1), signed. After a ReLU it is never negative, and the
Quant node is unsigned with one bit less, which is all that FINN accepts there. Quant nodes round
as the scheme does: FLOOR or ROUND (half to even), which is all that hls4ml knows. A bias holds what
`half_up` adds before it floors, as in the exports for C and RTL.

Sources:
1. https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops
2. `_calculate_precision_quantizer` in https://github.com/fastmachinelearning/hls4ml/blob/v1.3.0/hls4ml/model/optimizer/passes/quant_opt.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from powtwo.export.onnx.graph import Graph, sliding
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


def to_qonnx(network: IntegerNetwork) -> onnx.ModelProto:
    """Return the model: float32 `values` (1, C, H, W) in, float32 `logits` (1, classes) out.

    The input is what the network sees of an image, 2^e · (code − zero point): with dyadic
    normalization pixel / 128 − 1. A logit is the value that the integer network's stands for.

    Raises:
        UnsupportedError: where a zero point is neither 0 nor the middle, or where float32, in
            which these tools compute, is not exact.
    """
    graph = Graph(FILE)
    _check_zero_point("the input", network.input.codes)
    x = _quant(graph, "values", _activation(network.input.codes), "input")
    for index, layer in enumerate(network.layers):
        name = f"layer{index}"
        if layer.has_weights:
            _check(index, layer, network)
            x = _weighted(graph, layer, network.rounding, x, name)
        else:
            x = graph.pool_or_flatten(layer, x, name)
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, [1, *network.input.shape])
    folds = network.rounding.folds
    rounding = Rounding.FLOOR if folds else network.rounding
    metadata = {"bias": FOLDED} if folds else {}
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


def _check_zero_point(where: str, codes: ActivationQParams) -> None:
    if codes.zero_point not in (0, 2 ** (codes.bits - 1)):
        raise UnsupportedError(
            f"{FILE}: {where}: zero_point = {codes.zero_point}: QONNX tools need codes that start "
            f"or are centered at 0, so it must be 0 or {2 ** (codes.bits - 1)}"
        )


def _weighted(graph: Graph, layer: Layer, rounding: Rounding, x: str, name: str) -> str:
    x = _accumulate(graph, layer, folded_bias(layer, rounding), x, name)
    x = graph.node("Relu", [x], f"{name}.relu") if layer.relu else x
    if layer.output is None:
        return x
    quant = _activation(layer.output, layer.relu, ROUNDING_MODES[rounding])
    return _quant(graph, x, quant, f"{name}.output")


def _accumulate(graph: Graph, layer: Layer, biases: Tensor, x: str, name: str) -> str:
    values = layer.weight_values
    if layer.kind == "linear":
        values = values.T  # (I, O), as MatMul wants it
    # hls4ml's types have one binary point a tensor. Where exponents differ by channel, all values
    # are multiples of the finest step, in more bits.
    exponents = torch.tensor(layer.weight_exponent)
    finest, more = exponents.min(), int(exponents.max() - exponents.min())
    quant = _Quant(finest, layer.weight_bits + more, narrow=True)
    weight = _parameter(graph, values, quant, f"{name}.weight")
    # FINN's first step, qonnx's ExtractBiasFromConv, cannot reshape a number of no dimension.
    finest = layer.accumulator_exponent.min().reshape(1)
    values = fixedpoint.dequantize(biases, layer.accumulator_exponent, 0)
    quant = _Quant(finest, BIAS_BITS + more, zero_point=[0])
    bias = _parameter(graph, values, quant, f"{name}.bias")
    if layer.kind == "linear":
        return graph.node("Add", [graph.node("MatMul", [x, weight], f"{name}.product"), bias], name)
    return graph.node("Conv", [x, weight, bias], name, **sliding(layer), **PLAIN)


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
