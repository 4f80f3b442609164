"""One layer as operators of ONNX, built from the layer alone and not by an exporter.

ConvInteger and MatMulInteger give the accumulators, QLinearConv and QLinearMatMul `half_even`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from runtimes import RUNTIMES, same

from powtwo.integer.fixedpoint import power_of_two
from powtwo.integer.layer import Layer, accumulate, requantize_output
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding


def operator(kind: str, x: np.ndarray, to: int, *inputs: Any, **attributes: Any) -> onnx.ModelProto:
    """Make a graph of one operator: its first input is x, the others are constants."""
    names = [f"input{index}" for index in range(len(inputs))]
    node = helper.make_node(kind, ["x", *names], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", to, None)],
        [
            numpy_helper.from_array(np.asarray(values), name)
            for name, values in zip(names, inputs, strict=True)
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def weighted(network: IntegerNetwork, pixels: torch.Tensor) -> Iterator[tuple[Layer, np.ndarray]]:
    """Yield each weighted layer, and the codes that it reads."""
    x = network.input.encode(pixels)
    for layer, (_, output) in zip(network.layers, network.outputs(pixels), strict=True):
        if layer.has_weights:
            yield layer, x.numpy()
        x = output


def sides(layer: Layer) -> dict[str, list[int]]:
    return {"strides": [layer.stride] * 2, "pads": [layer.padding] * 4}


def sum_operator(layer: Layer, x: np.ndarray) -> onnx.ModelProto:
    zero_point, weight = np.uint8(layer.input.zero_point), layer.weight.numpy()
    if layer.kind == "conv2d":
        return operator("ConvInteger", x, TensorProto.INT32, weight, zero_point, **sides(layer))
    return operator("MatMulInteger", x, TensorProto.INT32, weight.T, zero_point)


def sums_agree(layer: Layer, x: np.ndarray, runtime: str) -> bool:
    ours = accumulate(replace(layer, bias=layer.bias * 0), torch.from_numpy(x))
    return same(ours, RUNTIMES[runtime](sum_operator(layer, x), x)[0])


def scale(exponent: Any) -> np.ndarray:
    return power_of_two(exponent).float().numpy()


def rounding_operator(layer: Layer, x: np.ndarray) -> onnx.ModelProto:
    """Multiply, accumulate and requantize in one; a matrix product has no bias."""
    weight_scale = scale(torch.tensor(layer.weight_exponent))
    before = (scale(layer.input.exponent), np.uint8(layer.input.zero_point))
    after = (scale(layer.output.exponent), np.uint8(layer.output.zero_point))
    weights = (layer.weight.numpy(), weight_scale, np.zeros(weight_scale.shape, np.int8))
    if layer.kind == "conv2d":
        inputs = (*before, *weights, *after, layer.bias.numpy())
        return operator("QLinearConv", x, TensorProto.UINT8, *inputs, **sides(layer))
    inputs = (*before, weights[0].T, *weights[1:], *after)
    return operator("QLinearMatMul", x, TensorProto.UINT8, *inputs)


def roundings_agree(layer: Layer, x: np.ndarray, runtime: str) -> bool:
    """Compare codes; ReLU and the clamp to fewer bits are monotone, so they may come after."""
    if layer.kind == "linear":
        layer = replace(layer, bias=layer.bias * 0)
    ours = requantize_output(layer, accumulate(layer, torch.from_numpy(x)), Rounding.HALF_EVEN)
    theirs = RUNTIMES[runtime](rounding_operator(layer, x), x)[0]
    low = layer.output.zero_point if layer.relu else 0
    return same(ours, theirs.clip(low, layer.output.grid.quant_max))
