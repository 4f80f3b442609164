"""The integer-only ONNX graph gives our logits in each rounding mode, on both runtimes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from export_cases import with_table
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from onnx import TensorProto
from runtimes import (
    RUNTIMES,
    integer_graph_agrees,
    metadata,
    run_ort,
    run_ort_plainly,
    run_reference,
    same,
    with_outputs,
)
from ties import tie_network

from powtwo.export.onnx.graph import write_onnx
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.steps import UnsupportedError
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork

INTEGERS = {
    TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.UINT32,
    TensorProto.INT64, TensorProto.UINT64,
}  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(network=networks)
def test_onnx_runtime_gives_our_codes(network: IntegerNetwork) -> None:
    pixels, model = random_pixels(11), to_onnx(network)
    assert integer_graph_agrees(network, model, pixels, run_ort)
    assert integer_graph_agrees(network, model, pixels, run_ort_plainly)
    assert same(network.logits(pixels), run_ort(model, pixels.numpy())[0])


@settings(max_examples=40, deadline=None)
@given(network=networks)
def test_the_reference_evaluator_gives_our_codes(network: IntegerNetwork) -> None:
    model = to_onnx(network)
    assert integer_graph_agrees(network, model, random_pixels(12, count=3), run_reference)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 20, 30, 31])
def test_around_every_tie(runtime: str, rounding: str, n: int) -> None:
    pixels = random_pixels(13, count=4)
    for relu in (False, True):
        for per_channel in (False, True):
            network = tie_network(rounding, n, relu, per_channel)
            model = to_onnx(network)
            agrees = integer_graph_agrees(network, model, pixels, RUNTIMES[runtime])
            assert agrees, (relu, per_channel)


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


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_standard_pixels_become_codes_by_table(runtime: str) -> None:
    network = with_table(random_network(3, "half_up"))
    model = to_onnx(network)
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert integer_graph_agrees(network, model, random_pixels(14), RUNTIMES[runtime])


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
