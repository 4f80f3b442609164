"""The integer-only ONNX graph gives our logits in each rounding mode, on both runtimes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from onnx import TensorProto
from runtimes import (
    RUNTIMES,
    integer_graph_agrees,
    run_ort,
    run_ort_plainly,
    run_reference,
    same,
    watched,
)
from ties import tie_network

from powtwo.dataset.normalization import Normalization
from powtwo.export.errors import UnsupportedError
from powtwo.export.onnx import integer as onnx_integer
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import Input, IntegerNetwork

INTEGERS = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.UINT32,
    TensorProto.INT64, TensorProto.UINT64,
}  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(network=networks)
def test_onnx_runtime_gives_our_codes(network: IntegerNetwork) -> None:
    pixels = random_pixels(11)
    model = onnx_integer.to_model(network)
    assert integer_graph_agrees(network, model, pixels, run_ort)
    assert same(network.logits(pixels), run_ort(model, pixels.numpy())[0])


@settings(max_examples=100, deadline=None)
@given(network=networks)
def test_onnx_runtime_gives_our_codes_without_optimizing(network: IntegerNetwork) -> None:
    model = onnx_integer.to_model(network)
    assert integer_graph_agrees(network, model, random_pixels(11), run_ort_plainly)


@settings(max_examples=40, deadline=None)
@given(network=networks)
def test_the_reference_evaluator_gives_our_codes(network: IntegerNetwork) -> None:
    model = onnx_integer.to_model(network)
    assert integer_graph_agrees(network, model, random_pixels(12, count=3), run_reference)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 20, 30, 31])
def test_around_every_tie(runtime: str, rounding: str, n: int) -> None:
    pixels = random_pixels(13, count=4)
    for relu in (False, True):
        for per_channel in (False, True):
            network = tie_network(rounding, n, relu, per_channel)
            model = onnx_integer.to_model(network)
            agrees = integer_graph_agrees(network, model, pixels, RUNTIMES[runtime])
            assert agrees, (relu, per_channel)


def test_only_integers_flow_from_pixel_to_logit() -> None:
    for rounding in ROUNDINGS:
        model = onnx_integer.to_model(random_network(1, rounding, relu=False, per_channel=True))
        onnx.checker.check_model(model, full_check=True)
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        tensors = [*graph.input, *graph.value_info, *graph.output]
        assert {tensor.type.tensor_type.elem_type for tensor in tensors} <= INTEGERS
        assert {constant.data_type for constant in graph.initializer} <= INTEGERS
        assert len(tensors) == len(graph.node) + 1


def test_a_narrow_network_stays_in_32_bits() -> None:
    kinds = {c.data_type for c in onnx_integer.to_model(random_network(1)).graph.initializer}
    assert TensorProto.INT64 not in kinds
    wide = onnx_integer.to_model(tie_network("half_even", 30, relu=False, per_channel=False))
    assert TensorProto.UINT64 in {constant.data_type for constant in wide.graph.initializer}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_standard_pixels_become_codes_by_table(runtime: str) -> None:
    normalization = Normalization("standard", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    network = random_network(3, "half_up")
    first = replace(network.layers[0], input=ActivationQParams(-5))
    layers = (replace(first, weight_exponent=first.weight_exponent - 2), *network.layers[1:])
    given = Input((3, 8, 8), ActivationQParams(-5), normalization)
    network = replace(network, input=given, layers=layers)
    model = onnx_integer.to_model(network)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert integer_graph_agrees(network, model, random_pixels(14), RUNTIMES[runtime])


def test_any_number_of_images_fits() -> None:
    network, pixels = random_network(4), random_pixels(15, count=9)
    model = onnx_integer.to_model(network)
    for count in (1, 9):
        assert integer_graph_agrees(network, model, pixels[:count])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_accumulators_can_be_looked_at(runtime: str) -> None:
    network, pixels = random_network(5, "half_even"), random_pixels(16, count=2)
    outputs = list(network.outputs(pixels))[:-1]
    ours = {f"layer{i}.accumulator": a for i, (a, _) in enumerate(outputs) if a is not None}
    model = watched(onnx_integer.to_model(network), list(ours))
    for name, theirs in zip(ours, RUNTIMES[runtime](model, pixels.numpy()), strict=True):
        assert same(ours[name], theirs), name


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        onnx_integer.write(random_network(6, "half_even"), tmp_path / name / "network.onnx")
    first, second = (tmp_path / name / "network.onnx" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    about = {entry.key: entry.value for entry in onnx.load(first).metadata_props}
    assert about == {
        "classes": '["a", "b", "c", "d", "e"]',
        "rounding": "half_even",
        "scheme": "random",
        "scheme_rounding": "half_even",
    }


def test_an_unknown_layer_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    network = random_network(7)
    layers = (*network.layers[:3], Layer("dropout"), *network.layers[3:])
    with pytest.raises(UnsupportedError, match="network.onnx: layer3 is a dropout: it must be"):
        onnx_integer.write(replace(network, layers=layers), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_a_pixel_is_its_own_code_without_a_table() -> None:
    kinds = [node.op_type for node in onnx_integer.to_model(random_network(8)).graph.node]
    assert kinds[0] == "ConvInteger"
    assert "Gather" not in kinds
