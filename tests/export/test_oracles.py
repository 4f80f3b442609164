"""One layer at a time against operators of ONNX whose arithmetic nobody here wrote.

ConvInteger and MatMulInteger give the accumulators, QLinearConv and QLinearMatMul `half_even`. The
graphs are built here from the layer alone, not by an exporter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from networks import networks, random_network, random_pixels
from onnx import TensorProto, helper, numpy_helper
from runtimes import RUNTIMES, integer_graph_agrees, qdq_graph_agrees, run_ort, same
from ties import tie_network

from powtwo.export.onnx import integer as onnx_integer
from powtwo.export.onnx import qdq as onnx_qdq
from powtwo.integer import fixedpoint
from powtwo.integer.layer import Layer, accumulate, requantize
from powtwo.integer.network import IntegerNetwork

ROOT = Path(__file__).parents[2]
DATASET = ROOT / "data" / "dataset.npz"
TRAINED = sorted((ROOT / "models" / "integer").glob("*.safetensors")) if DATASET.exists() else []


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


def computing(network: IntegerNetwork, pixels: torch.Tensor) -> Iterator[tuple[Layer, np.ndarray]]:
    """Yield each layer that computes, and the codes that come in."""
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
    return fixedpoint.power_of_two(exponent).float().numpy()


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
    accumulators = accumulate(layer, torch.from_numpy(x))
    if layer.relu:
        accumulators = accumulators.clamp(min=0)
    ours = requantize(accumulators, layer.shift, layer.output, "half_even")
    theirs = RUNTIMES[runtime](rounding_operator(layer, x), x)[0]
    low = layer.output.zero_point if layer.relu else 0
    return same(ours, theirs.clip(low, layer.output.grid.quant_max))


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_sums_are_those_of_conv_integer_and_matmul_integer(
    runtime: str, network: IntegerNetwork
) -> None:
    for index, (layer, x) in enumerate(computing(network, random_pixels(31, count=3))):
        assert sums_agree(layer, x, runtime), index


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_half_even_is_what_qlinear_operators_do(runtime: str, network: IntegerNetwork) -> None:
    for index, (layer, x) in enumerate(computing(network, random_pixels(32, count=3))):
        if layer.output is not None:
            assert roundings_agree(layer, x, runtime), index


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 9, 15])
def test_half_even_around_every_tie(runtime: str, n: int) -> None:
    """A 1×1 convolution of one weight, whose biases sweep across the ties of all codes."""
    layer = tie_network("half_even", n, relu=False, per_channel=False).layers[5]
    layer = replace(layer, kind="conv2d", weight=layer.weight[..., None, None], kernel=1)
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(12, axis=1)
    assert roundings_agree(layer, x, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_sums_of_the_largest_products_do_not_saturate(runtime: str) -> None:
    """Kernels of uint8 × int8 that add pairs in 16 bits would clip 2 · 255 · 127."""
    layer = random_network(0, zero_point=0).layers[4]
    layer = replace(layer, weight=torch.full_like(layer.weight, 127))
    x = np.full((2, layer.weight.shape[1]), 255, np.uint8)
    assert sums_agree(layer, x, runtime)
    assert run_ort(sum_operator(layer, x), x)[0].max() == 255 * 127 * layer.weight.shape[1]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_padding_and_stride_are_those_of_conv_integer(
    runtime: str, padding: int, stride: int
) -> None:
    layer = replace(random_network(1).layers[0], padding=padding, stride=stride)
    assert sums_agree(layer, random_pixels(33, count=2).numpy(), runtime)


@pytest.mark.skipif(not TRAINED, reason="no trained network here: run ./inv repro")
@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_trained_network_agrees_with_all_of_them(runtime: str, path: Path) -> None:
    network = IntegerNetwork.load(path)
    pixels = torch.from_numpy(np.load(DATASET)["x_test"][:3])
    run = RUNTIMES[runtime]
    assert integer_graph_agrees(network, onnx_integer.to_model(network), pixels, run)
    even = replace(network, rounding="half_even")
    assert qdq_graph_agrees(even, onnx_qdq.to_model(even), pixels, run)
    for index, (layer, x) in enumerate(computing(even, pixels)):
        assert sums_agree(layer, x, runtime), index
        assert layer.output is None or roundings_agree(layer, x, runtime), index
