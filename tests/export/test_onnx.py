"""The graphs of integers alone and with QDQ give our codes and logits, on runtimes not ours.

The first in each rounding mode; the second under `half_even`, fused to integer kernels or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from export_cases import with_table
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from onnx import TensorProto, numpy_helper
from runtimes import (
    RUNTIMES,
    integer_graph_agrees,
    metadata,
    qdq_graph_agrees,
    run_ort,
    run_ort_plainly,
    run_reference,
    same,
    values,
    with_outputs,
)
from ties import lopsided_network, tie_network

from powtwo.export.onnx.graph import write_onnx
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.steps import UnsupportedError
from powtwo.integer.fixedpoint import dequantize
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork

INTEGERS = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.UINT32,
    TensorProto.INT64, TensorProto.UINT64,
}  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(network=networks)
def test_onnx_runtime_gives_our_codes(network: IntegerNetwork) -> None:
    pixels, even = random_pixels(11), replace(network, rounding="half_even")
    integers, qdq = to_onnx(network), to_qdq_onnx(even)
    for run in (run_ort, run_ort_plainly):
        assert integer_graph_agrees(network, integers, pixels, run)
        assert qdq_graph_agrees(even, qdq, pixels, run)
    assert same(network.logits(pixels), run_ort(integers, pixels.numpy())[0])
    assert same(values(even, even.logits(pixels)), run_ort(qdq, pixels.numpy())[0])


@settings(max_examples=40, deadline=None)
@given(network=networks)
def test_the_reference_evaluator_gives_our_codes(network: IntegerNetwork) -> None:
    pixels, even = random_pixels(12, count=3), replace(network, rounding="half_even")
    assert integer_graph_agrees(network, to_onnx(network), pixels, run_reference)
    assert qdq_graph_agrees(even, to_qdq_onnx(even), pixels, run_reference)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 15, 20, 30, 31])
def test_around_every_tie(runtime: str, rounding: str, n: int) -> None:
    pixels, run = random_pixels(13, count=4), RUNTIMES[runtime]
    for relu in (False, True):
        for per_channel in (False, True):
            network = tie_network(rounding, n, relu, per_channel)
            agrees = integer_graph_agrees(network, to_onnx(network), pixels, run)
            if rounding == "half_even" and n <= 15:  # beyond, float32 is too narrow
                agrees &= qdq_graph_agrees(network, to_qdq_onnx(network), pixels, run)
            assert agrees, (relu, per_channel)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_standard_pixels_become_codes_by_table(runtime: str) -> None:
    network, pixels = with_table(random_network(3, "half_even")), random_pixels(14)
    model = to_onnx(network)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert integer_graph_agrees(network, model, pixels, RUNTIMES[runtime])
    assert qdq_graph_agrees(network, to_qdq_onnx(network), pixels, RUNTIMES[runtime])


def test_only_integers_flow_from_pixel_to_logit() -> None:
    for rounding in ROUNDINGS:
        model = to_onnx(random_network(1, rounding, relu=False, per_channel=True))
        onnx.checker.check_model(model, full_check=True)
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        tensors = [*graph.input, *graph.value_info, *graph.output]
        assert {tensor.type.tensor_type.elem_type for tensor in tensors} <= INTEGERS
        assert {constant.data_type for constant in graph.initializer} <= INTEGERS
        assert len(tensors) == len(graph.node) + 1


def test_a_narrow_network_stays_in_32_bits() -> None:
    kinds = {c.data_type for c in to_onnx(random_network(1)).graph.initializer}
    assert TensorProto.INT64 not in kinds
    wide = to_onnx(tie_network("half_even", 30, relu=False, per_channel=False))
    assert TensorProto.UINT64 in {constant.data_type for constant in wide.graph.initializer}


def test_any_number_of_images_fits_and_a_pixel_is_its_own_code() -> None:
    network, pixels = random_network(4), random_pixels(15, count=9)
    model = to_onnx(network)
    assert model.graph.node[0].op_type == "ConvInteger"
    for count in (1, 9):
        assert integer_graph_agrees(network, model, pixels[:count])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_accumulators_can_be_looked_at(runtime: str) -> None:
    network, pixels = random_network(5, "half_even"), random_pixels(16, count=2)
    outputs = list(network.outputs(pixels))[:-1]
    ours = {f"layer{i}.accumulator": a for i, (a, _) in enumerate(outputs) if a is not None}
    model = with_outputs(to_onnx(network), list(ours))
    for name, theirs in zip(ours, RUNTIMES[runtime](model, pixels.numpy()), strict=True):
        assert same(ours[name], theirs), name


TO_MODEL = [(to_onnx, "network.onnx"), (to_qdq_onnx, "network.qdq.onnx"),
            (to_qonnx, "network.qonnx.onnx")]  # fmt: skip


@pytest.mark.parametrize(("to_model", "file"), TO_MODEL)
def test_equal_networks_give_equal_bytes_which_say_what_they_are(
    to_model: Callable[..., onnx.ModelProto], file: str, tmp_path: Path
) -> None:
    paths = [tmp_path / name / file for name in ("a", "b")]
    for path in paths:
        write_onnx(to_model(random_network(6)), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    qdq = to_model is to_qdq_onnx
    assert metadata(onnx.load(paths[0])) == {
        "classes": '["a", "b", "c", "d", "e"]',
        "rounding": "half_even" if qdq else "floor",
        "scheme": "random",
        "scheme_rounding": "floor",
        **({"float32_exact": "true"} if qdq else {}),
    }


@pytest.mark.parametrize(("to_model", "file"), TO_MODEL)
def test_an_unknown_layer_is_refused(to_model: Callable[..., object], file: str) -> None:
    network = random_network(7)
    layers = (*network.layers[:3], Layer("dropout"), *network.layers[3:])
    with pytest.raises(UnsupportedError, match=f"{file}: layer3 is a dropout: it must be"):
        to_model(replace(network, layers=layers))


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
            bias = dequantize(layer.bias, layer.accumulator_exponent, 0)
            assert stored[f"layer{index}.bias"].dtype == np.float32
            assert np.array_equal(bias, stored[f"layer{index}.bias"])


def test_onnx_runtime_makes_integer_kernels_of_it(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = to_qdq_onnx(random_network(6, relu=False))
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert {"QLinearConv", "QGemm"} <= kinds
    assert "Conv" not in kinds
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
