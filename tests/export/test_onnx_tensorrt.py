"""What TensorRT's parser documents that it takes holds for network.qdq.onnx, or the file says no.

TensorRT itself does not run here. Sources, read in November 2026:
1. https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md
2. `QuantDequantLinearHelper` in https://github.com/onnx/onnx-tensorrt/blob/main/onnxOpImporters.cpp
3. `kUINT8` in https://github.com/NVIDIA/TensorRT/blob/main/include/NvInferRuntimeBase.h
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from export_cases import odd_network, with_table
from networks import random_network
from onnx import TensorProto, helper, numpy_helper
from runtimes import metadata
from ties import tie_network

from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.integer.network import IntegerNetwork

FLOAT, INT8, INT32, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.UINT8,
)
NUMBERS = {FLOAT, INT32}
TAKES = {  # of the types that these graphs have, those of an operator's inputs
    "Add": NUMBERS,
    "Cast": {FLOAT, INT32, UINT8},
    "Clip": {FLOAT},
    "Conv": {FLOAT},
    "DequantizeLinear": {FLOAT, INT8},
    "Flatten": NUMBERS,
    "Gather": NUMBERS,
    "Gemm": {FLOAT},
    "MaxPool": {FLOAT},
    "Mul": NUMBERS,
    "QuantizeLinear": {FLOAT, INT8},
    "Relu": NUMBERS,
    "Sub": NUMBERS,
}


def complaints(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what the parser would not take: an operator, a type, a zero point, a scale."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    stored = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {c.name: c.data_type for c in graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in values}
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if not {types[name] for name in node.input} <= TAKES.get(node.op_type, set()):
            yield f"{node.name}: types of {node.op_type}"
        if UINT8 in {types[name] for name in node.output}:
            yield f"{node.name}: bytes inside the graph"
        if types[node.input[0]] == UINT8 and attributes.get("to") != FLOAT:
            yield f"{node.name}: bytes become something else than floats"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from quantization(node, types, stored, attributes.get("axis", 1))


def quantization(
    node: onnx.NodeProto, types: dict[str, int], stored: dict[str, np.ndarray], axis: int
) -> Iterator[str]:
    x, scale, zero_point = node.input
    quantized = node.output[0] if node.op_type == "QuantizeLinear" else x
    if types[quantized] != INT8 or types[zero_point] != INT8 or stored[zero_point].any():
        yield f"{node.name}: not int8 around 0"
    if not (stored[scale] > 0).all() or stored[scale].shape != stored[zero_point].shape:
        yield f"{node.name}: scale"
    by_channel = stored[scale].size != 1
    if by_channel and (axis != 0 or x not in stored or len(stored[scale]) != len(stored[x])):
        yield f"{node.name}: scales by channel of something else than weights"


def large_bias() -> IntegerNetwork:
    network = random_network(1)
    bias = network.layers[0].bias.clone()
    bias[0] = 2**24 + 1
    return replace(network, layers=(replace(network.layers[0], bias=bias), *network.layers[1:]))


TAKEN = {
    "8 bits": random_network(1),
    "without ReLU": random_network(1, relu=False, logits="codes"),
    "by channel": random_network(1, per_channel=True),
    "4 bits": random_network(1, bits=4, weight_bits=4),
    "powers of two": random_network(1, kind="power_of_two", weight_bits=4),
    "a table": with_table(random_network(1)),
    "wide sums": tie_network("floor", 15, relu=False, per_channel=True),
}
REFUSED = {
    "codes from 0": (random_network(1, zero_point=0), "layer 0: zero_point = 0: must be 128"),
    "codes around 100": (random_network(1, zero_point=100), "layer 0: zero_point = 100: must be"),
    "6 bits around 16": (odd_network(), "the input: zero_point = 16: must be 32, which int8 has"),
    "4 bits from 0": (random_network(1, bits=4, zero_point=0), "zero_point = 0: must be 8, which"),
    "a large bias": (large_bias(), "layer 0: a bias of 16777217: float32 is exact up to 2^24"),
}


@pytest.mark.parametrize("network", TAKEN.values(), ids=TAKEN)
def test_the_parser_takes_what_is_not_named(network: IntegerNetwork) -> None:
    model = to_qdq_onnx(network)
    assert list(complaints(model)) == []
    assert "not_for_tensorrt" not in metadata(model)


@pytest.mark.parametrize(("network", "why"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_hold_is_named(network: IntegerNetwork, why: str) -> None:
    model = to_qdq_onnx(network)
    assert why in metadata(model)["not_for_tensorrt"]
    exact = network.layers[0].bias.abs().max() <= 2**24
    assert bool(list(complaints(model))) == exact  # a rounded bias is no matter of types
