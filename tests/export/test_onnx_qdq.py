"""The QDQ graph is our network under `half_even`, fused to integer kernels or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_cases import with_table
from hypothesis import given, settings
from networks import networks, random_network, random_pixels
from onnx import TensorProto, numpy_helper
from runtimes import (
    RUNTIMES,
    metadata,
    qdq_graph_agrees,
    run_ort,
    run_ort_plainly,
    run_reference,
    same,
    values,
)
from ties import lopsided_network, tie_network

from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.steps import UnsupportedError
from powtwo.integer.network import IntegerNetwork


@settings(max_examples=100, deadline=None)
@given(network=networks)
def test_onnx_runtime_gives_our_codes(network: IntegerNetwork) -> None:
    network, pixels = replace(network, rounding="half_even"), random_pixels(21)
    model = to_qdq_onnx(network)
    assert qdq_graph_agrees(network, model, pixels, run_ort)
    assert qdq_graph_agrees(network, model, pixels, run_ort_plainly)
    assert same(values(network, network.logits(pixels)), run_ort(model, pixels.numpy())[0])


@settings(max_examples=40, deadline=None)
@given(network=networks)
def test_the_reference_evaluator_gives_our_codes(network: IntegerNetwork) -> None:
    network, pixels = replace(network, rounding="half_even"), random_pixels(22, count=3)
    assert qdq_graph_agrees(network, to_qdq_onnx(network), pixels, run_reference)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 15])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_around_every_tie(n: int, relu: bool, per_channel: bool, runtime: str) -> None:
    network = tie_network("half_even", n, relu, per_channel)
    model, pixels = to_qdq_onnx(network), random_pixels(23, count=4)
    assert qdq_graph_agrees(network, model, pixels, RUNTIMES[runtime])


def test_standard_pixels_become_values_by_table() -> None:
    network = with_table(random_network(3, "half_even"))
    assert qdq_graph_agrees(network, to_qdq_onnx(network), random_pixels(24))


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}


def test_parameters_are_the_integers_themselves() -> None:
    network = random_network(4, per_channel=True)
    model = to_qdq_onnx(network)
    onnx.checker.check_model(model, full_check=True)
    stored = constants(model)
    for index, layer in enumerate(network.layers):
        if layer.has_weights:
            assert same(layer.weight, stored[f"layer{index}.weight.integers"])
            assert same(layer.bias, stored[f"layer{index}.bias.integers"])


def test_centered_codes_have_zero_point_0_as_tensorrt_needs() -> None:
    stored = constants(to_qdq_onnx(random_network(5)))
    zero_points = [values for name, values in stored.items() if name.endswith("zero_point")]
    assert all(not zero_point.any() for zero_point in zero_points)
    assert {zero_point.dtype.name for zero_point in zero_points} == {"int8", "int32"}
    stored = constants(to_qdq_onnx(random_network(5, zero_point=0)))
    assert stored["layer0.output.zero_point"].dtype == np.uint8


def test_onnx_runtime_makes_integer_kernels_of_it(tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = to_qdq_onnx(random_network(6, relu=False))
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert {"QLinearConv", "QGemm"} <= kinds
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize(
    ("network", "exact"),
    [
        (random_network(7), "true"),
        (lopsided_network("half_even"), "true"),  # by what ReLU leaves of its inputs
        (tie_network("half_even", 26, relu=True, per_channel=False), "false"),
    ],
)
def test_the_metadata_say_where_float32_is_too_narrow(network: IntegerNetwork, exact: str) -> None:
    assert metadata(to_qdq_onnx(network))["float32_exact"] == exact


def test_a_scale_below_float32_is_refused() -> None:
    network = random_network(8)
    first = replace(network.layers[0], weight_exponent=-125, output=None)
    with pytest.raises(UnsupportedError, match=r"network.qdq.onnx: layer0.bias.scale = 2\^-132"):
        to_qdq_onnx(replace(network, layers=(first,)))
