"""`network.qdq.onnx`: float operators between QuantizeLinear and DequantizeLinear.

This is the form that TensorRT, OpenVINO and ONNX Runtime turn into integer kernels. Weights are
stored as int8. Biases are float32, which holds them exactly below 2^24, for TensorRT dequantizes
int8 alone. QuantizeLinear rounds half to even, so the graph is `half_even` whatever the scheme's
rounding; its metadata say so.

Codes around a zero point in the middle become int8 with zero point 0, x̄ − 2^(bits−1): TensorRT
takes nothing else. Others stay uint8, and the metadata name them as not for it.

Sources:
1. https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html
2. Types of each operator: https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
3. Zero point 0: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto

from powtwo.core.graph import IMAGE
from powtwo.core.windows import average_bits, pair
from powtwo.export.onnx.graph import Graph, grouped, lowest_value, parameters, pixels_input, sliding
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import Input, IntegerNetwork
from powtwo.integer.rounding import Rounding


def to_qdq_onnx(network: IntegerNetwork) -> onnx.ModelProto:
    """Return the model: uint8 `pixels` (N, C, H, W) in, float32 `logits` (N, classes) out.

    A logit is the value that the integer network's stands for, 2^e · (code − zero point). The
    metadata key `float32_exact` tells whether all sums stay below 2^24, so that a runtime that
    computes in float32 is exact too; `not_for_tensorrt`, where there is one, why it does not take
    the file.

    Raises:
        UnsupportedError: where a layer is of a kind unknown here, or a scale is below 2^−126.
    """
    graph = Graph("network.qdq.onnx")
    values = _quantize(graph, network.input.codes, _values(graph, network.input), "input")
    names = {IMAGE: values}
    for index, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        name, inputs = f"layer{index}", [names[source] for source in sources]
        if layer.has_weights:
            x = _weighted(graph, layer, inputs[0], name)
        elif layer.accumulates:
            x = weightless(graph, layer, inputs, network.channels(sources[0]), name)
        else:
            x = graph.padded_pool(layer, inputs[0], lowest_value(network.codes(index)), name)
        codes = network.codes(index)  # None: int32, which stays as it is
        if codes is not None:
            x = _quantize(graph, codes, x, f"{name}.output", layer.maximum)
        names[index] = x
    sums = [index for index, layer in enumerate(network.layers) if layer.accumulates]
    bound = max((int(network.accumulator_bound(index).max()) for index in sums), default=0)
    metadata = {"float32_exact": json.dumps(bound < fixedpoint.FLOAT32_EXACT)}
    if why := next(_not_for_tensorrt(network), None):
        metadata["not_for_tensorrt"] = why
    source = pixels_input(network)
    return graph.model(network, source, TensorProto.FLOAT, Rounding.HALF_EVEN, metadata=metadata)


def _not_for_tensorrt(network: IntegerNetwork) -> Iterator[str]:
    """Yield each reason why TensorRT cannot take the file."""
    layers = [(f"layer {index}", layer) for index, layer in enumerate(network.layers)]
    codes = [("the input", network.input.codes), *((name, x.output) for name, x in layers)]
    for name, given in codes:
        if given is not None and not _is_centered(given):
            middle = 1 << (given.bits - 1)
            yield f"{name}: zero_point = {given.zero_point}: must be {middle}, which int8 has at 0"
    for name, layer in layers:
        largest = int(parameters(layer)[1].abs().max()) if layer.has_weights else 0
        if largest > fixedpoint.FLOAT32_EXACT:
            yield f"{name}: a bias of {largest}: float32 is exact up to 2^24"


def _values(graph: Graph, source: Input) -> str:
    """Add the float32 values 2^e · (x̄ − z) of the pixels' codes: each step is exact."""
    table = source.table()
    z, exponent = source.codes.zero_point, source.codes.exponent
    if table is not None:
        values = fixedpoint.dequantize(torch.from_numpy(table), exponent, z).float().numpy()
        return graph.look_up(values, "input.values", TensorProto.FLOAT)
    x = graph.cast("pixels", TensorProto.FLOAT, "input.pixels")
    x = graph.with_constant("Sub", x, z, np.float32, "input.centered")
    return graph.node("Mul", [x, graph.scale("input.step", exponent)], "input.values")


def _quantize(
    graph: Graph, codes: ActivationQParams, x: str, name: str, maximum: int | None = None
) -> str:
    """Add Quantize and Dequantize, with a Clip where the codes do not fill eight bits."""
    if codes.bits < 8 or maximum is not None:
        step = float(fixedpoint.power_of_two(codes.exponent))
        highest = codes.grid.quant_max if maximum is None else maximum
        ends = {"low": codes.grid.quant_min, "high": highest}
        limits = [
            graph.constant(f"{name}.{side}", (end - codes.zero_point) * step, np.float32)
            for side, end in ends.items()
        ]
        x = graph.node("Clip", [x, *limits], f"{name}.clipped")
    scale = graph.scale(f"{name}.scale", codes.exponent)
    zero_point = graph.constant(f"{name}.zero_point", *_zero_point(codes))
    x = graph.node("QuantizeLinear", [x, scale, zero_point], f"{name}.codes")
    return graph.node("DequantizeLinear", [x, scale, zero_point], name)


def _zero_point(codes: ActivationQParams) -> tuple[int, npt.DTypeLike]:
    return (0, np.int8) if _is_centered(codes) else (codes.zero_point, np.uint8)


def _is_centered(codes: ActivationQParams) -> bool:
    return codes.zero_point == 1 << (codes.bits - 1)


def _weighted(graph: Graph, layer: Layer, x: str, name: str) -> str:
    bias = fixedpoint.dequantize(parameters(layer)[1], layer.accumulator_exponent, 0).numpy()
    graph.require_normal(f"{name}.bias.scale", layer.accumulator_exponent)
    inputs = [x, _weight(graph, layer, name), graph.constant(f"{name}.bias", bias, np.float32)]
    if layer.kind == "conv2d":
        x = graph.node("Conv", inputs, name, **grouped(layer))
    else:
        x = graph.node("Gemm", inputs, name, transB=1)
    return graph.node("Relu", [x], f"{name}.relu") if layer.relu else x


def weightless(graph: Graph, layer: Layer, inputs: list[str], channels: int, name: str) -> str:
    """Add an addition or an average of values, with its ReLU; each sum is exact.

    An average of k positions, no power of two, is Σ / 2^m: a convolution with such weights.
    """
    if layer.kind == "add":
        x = graph.node("Add", inputs, name)
    else:
        positions, divisor = prod(pair(layer.kernel)), 1 << average_bits(layer.kernel)
        if positions == divisor:
            window = sliding(layer) | {"count_include_pad": 1}
            x = graph.node("AveragePool", inputs, name, **window)
        else:
            # As integers and a scale: ONNX Runtime quantizes plain floats, by a scale of its own.
            ones = np.ones((channels, 1, *pair(layer.kernel)))
            weight = [
                graph.constant(f"{name}.weight.integers", ones, np.int8),
                graph.scale(f"{name}.weight.scale", -average_bits(layer.kernel)),
                graph.constant(f"{name}.weight.zero_point", 0, np.int8),
            ]
            weights = graph.node("DequantizeLinear", weight, f"{name}.weight")
            x = graph.node("Conv", [*inputs, weights], name, **sliding(layer), group=channels)
    return graph.node("Relu", [x], f"{name}.relu") if layer.relu else x


def _weight(graph: Graph, layer: Layer, name: str) -> str:
    """Add the int8 weights and the values that they stand for."""
    exponent = torch.tensor(layer.weight_exponent)
    inputs = [
        graph.constant(f"{name}.weight.integers", parameters(layer)[0].numpy(), np.int8),
        graph.scale(f"{name}.weight.scale", exponent),
        graph.constant(f"{name}.weight.zero_point", np.zeros(exponent.shape), np.int8),
    ]
    return graph.node("DequantizeLinear", inputs, f"{name}.weight", axis=0)
