"""`network.qonnx.onnx`: float operators between QONNX Quant nodes, as FINN and hls4ml read them.

Every zero point is 0: a code is x̄ − 2^(bits−1), signed. After a ReLU it is never negative, and the
Quant node is unsigned with one bit less, which is all that FINN accepts there. Quant nodes round
as the scheme does: FLOOR, ROUND (half to even) or HALF_UP, which in QONNX goes away from zero and
so equals ours where nothing is negative, after ReLU.

Source: https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from powtwo.export.onnx.graph import Graph, parameters, sliding
from powtwo.export.steps import UnsupportedError
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

FILE = "network.qonnx.onnx"
DOMAIN = "qonnx.custom_op.general"
ROUNDING_MODES = {  # QONNX's words
    Rounding.FLOOR: "FLOOR",
    Rounding.HALF_UP: "HALF_UP",
    Rounding.HALF_EVEN: "ROUND",
}
BIAS_BITS = 32


def to_qonnx(network: IntegerNetwork) -> onnx.ModelProto:
    """Return the model: float32 `values` (1, C, H, W) in, float32 `logits` (1, classes) out.

    The input is what the network sees of an image, 2^e · (code − zero point): with dyadic
    normalization pixel / 128 − 1. A logit is the value that the integer network's stands for.

    Raises:
        UnsupportedError: where a zero point is neither 0 nor the middle, where `half_up` meets
            negative sums, or where float32, in which these tools compute, is not exact.
    """
    graph = Graph(FILE)
    _check_zero_point("the input", network.input.codes)
    x = _quant(graph, "values", _activation(network.input.codes), "input")
    for index, layer in enumerate(network.layers):
        name = f"layer{index}"
        if layer.has_weights:
            _check(index, layer, network)
            x = _weighted(graph, layer, ROUNDING_MODES[network.rounding], x, name)
        else:
            x = graph.pool_or_flatten(layer, x, name)
    values = helper.make_tensor_value_info("values", TensorProto.FLOAT, [1, *network.input.shape])
    return graph.model(network, values, TensorProto.FLOAT, network.rounding, domains=[DOMAIN])


def _check(index: int, layer: Layer, network: IntegerNetwork) -> None:
    if (bound := int(network.accumulator_bound(index).max())) >= fixedpoint.FLOAT32_EXACT:
        raise UnsupportedError(
            f"{FILE}: layer {index}: sums of up to {bound}: float32, in which "
            "QONNX tools compute, is exact below 2^24; use fewer bits"
        )
    if layer.output is None:
        return
    _check_zero_point(f"layer {index}", layer.output)
    # With zero point 0 what is negative is clamped to 0, however it is rounded.
    if network.rounding is Rounding.HALF_UP and not layer.relu and layer.output.zero_point:
        raise UnsupportedError(
            f"{FILE}: layer {index}: rounding = 'half_up' without ReLU: QONNX rounds negative "
            "halves away from zero; use floor or half_even"
        )


def _check_zero_point(where: str, codes: ActivationQParams) -> None:
    if codes.zero_point not in (0, 2 ** (codes.bits - 1)):
        raise UnsupportedError(
            f"{FILE}: {where}: zero_point = {codes.zero_point}: QONNX tools need codes that start "
            f"or are centered at 0, so it must be 0 or {2 ** (codes.bits - 1)}"
        )


def _weighted(graph: Graph, layer: Layer, rounding: str, x: str, name: str) -> str:
    x = _accumulate(graph, layer, x, name)
    x = graph.node("Relu", [x], f"{name}.relu") if layer.relu else x
    if layer.output is None:
        return x
    return _quant(graph, x, _activation(layer.output, layer.relu, rounding), f"{name}.output")


def _accumulate(graph: Graph, layer: Layer, x: str, name: str) -> str:
    integers, biases = parameters(layer)
    exponent = torch.tensor(layer.weight_exponent)
    if layer.kind == "linear":
        integers = integers.T  # (I, O), as MatMul wants it: an exponent by channel broadcasts
    elif exponent.dim():
        exponent = exponent.view(-1, 1, 1, 1)
    weight_quant = _Quant(exponent, layer.weight_bits, narrow=True)
    weight = _parameter(graph, integers, weight_quant, f"{name}.weight")
    bias_quant = _Quant(layer.accumulator_exponent, BIAS_BITS)
    bias = _parameter(graph, biases, bias_quant, f"{name}.bias")
    if layer.kind == "linear":
        return graph.node("Add", [graph.node("MatMul", [x, weight], f"{name}.product"), bias], name)
    kernel = [layer.kernel] * 2
    return graph.node("Conv", [x, weight, bias], name, kernel_shape=kernel, **sliding(layer))


@dataclass(frozen=True)
class _Quant:
    """What a Quant node does beside its zero point of 0."""

    exponent: Tensor  # () or whatever broadcasts
    bits: int
    signed: bool = True
    narrow: bool = False  # without the lowest code
    rounding: str = "ROUND"


def _activation(codes: ActivationQParams, relu: bool = False, rounding: str = "ROUND") -> _Quant:
    signed = codes.zero_point > 0
    bits = codes.bits - 1 if signed and relu else codes.bits
    return _Quant(torch.tensor(codes.exponent), bits, signed and not relu, rounding=rounding)


def _parameter(graph: Graph, integers: Tensor, quant: _Quant, name: str) -> str:
    """Add the values of weights or biases, which lie on their grid already, and a Quant."""
    values = fixedpoint.dequantize(integers, quant.exponent, 0).numpy()
    return _quant(graph, graph.constant(f"{name}.values", values, np.float32), quant, name)


def _quant(graph: Graph, x: str, quant: _Quant, name: str) -> str:
    inputs = [
        x,
        graph.scale(f"{name}.scale", quant.exponent),
        graph.constant(f"{name}.zero_point", 0, np.float32),
        graph.constant(f"{name}.bits", quant.bits, np.float32),
    ]
    kinds = {"signed": int(quant.signed), "narrow": int(quant.narrow)}
    return graph.node("Quant", inputs, name, domain=DOMAIN, rounding_mode=quant.rounding, **kinds)
