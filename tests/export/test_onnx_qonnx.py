"""The QONNX graph is our network, by the qonnx package and by Quant nodes written from its spec."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from runtimes import metadata, same, values
from ties import lopsided_network, tie_network

from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.steps import UnsupportedError
from powtwo.integer import fixedpoint
from powtwo.integer.network import IntegerNetwork

ROUND = {"ROUND": np.rint, "FLOOR": np.floor}  # all that hls4ml knows


class Quant(OpRun):
    """Quant of QONNX: s · (clamp(round(x / s + z)) − z)."""

    op_domain = "qonnx.custom_op.general"

    def _run(  # noqa: PLR0917  # the evaluator hands over inputs and attributes like this
        self,
        x: np.ndarray,
        scale: np.ndarray,
        zero_point: np.ndarray,
        bits: np.ndarray,
        narrow: int | None = None,
        rounding_mode: str | None = None,
        signed: int | None = None,
    ) -> tuple[np.ndarray]:
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        steps = x / scale + zero_point
        return ((ROUND[rounding_mode](steps).clip(low, high) - zero_point) * scale,)


def seen(network: IntegerNetwork, pixels: torch.Tensor) -> np.ndarray:
    """Return what the graph takes: the float32 values of the input's codes."""
    codes = network.input.codes
    encoded = network.input.encode(pixels)
    return fixedpoint.dequantize(encoded, codes.exponent, codes.zero_point).float().numpy()


def run_by_specification(
    network: IntegerNetwork, pixels: torch.Tensor, for_finn: bool = False
) -> np.ndarray:
    graph = ReferenceEvaluator(to_qonnx(network, for_finn=for_finn), new_ops=[Quant])
    return graph.run(None, {"values": seen(network, pixels)})[0].astype(np.float32)


def run_by_package(network: IntegerNetwork, pixels: torch.Tensor) -> np.ndarray:
    """Clean the graph up as FINN and hls4ml do first, and execute it."""
    why = "qonnx is not installed: pip install qonnx"
    onnx_exec = pytest.importorskip("qonnx.core.onnx_exec", reason=why)
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.change_batchsize import ChangeBatchSize
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(to_qonnx(network)))
    model = model.transform(ChangeBatchSize(len(pixels))).transform(InferShapes())
    given = {model.graph.input[0].name: seen(network, pixels)}
    return next(iter(onnx_exec.execute_onnx(model, given).values()))


@pytest.mark.parametrize("run", [run_by_specification, run_by_package])
@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_quant_nodes_give_our_logits(run: Any, network: IntegerNetwork) -> None:
    pixels = random_pixels(51, count=3)
    assert same(values(network, network.logits(pixels)), run(network, pixels))


@pytest.mark.parametrize("run", [run_by_specification, run_by_package])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 15])
def test_around_every_tie(run: Any, rounding: str, n: int) -> None:
    pixels = random_pixels(52, count=3)
    for relu in (True, False):
        network = tie_network(rounding, n, relu, per_channel=n == 9)
        assert same(values(network, network.logits(pixels)), run(network, pixels))


def test_qonnx_finds_the_integers() -> None:
    pytest.importorskip("qonnx", reason="qonnx is not installed: pip install qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(to_qonnx(random_network(1, weight_bits=4))))
    model = model.transform(InferDataTypes(allow_scaledint_dtypes=True))
    kinds = {node.op_type: set() for node in model.graph.node}
    for node in model.graph.node:
        kinds[node.op_type].add(model.get_tensor_datatype(node.output[0]).name)
    assert kinds["Quant"] == {
        "SCALEDINT<8>",  # pixels
        "SCALEDINT<7>",  # codes after ReLU
        "SCALEDINT<4>",  # weights
        "SCALEDINT<32>",  # biases
    }
    assert kinds["Conv"] == kinds["MatMul"] == {"SCALEDINT<32>"}
    assert kinds["MaxPool"] == {"SCALEDINT<7>"}


def test_what_finn_starts_with_leaves_the_logits_equal() -> None:
    """The steps of FINN's ConvertQONNXtoFINN that qonnx has, in its order, and the next one."""
    pytest.importorskip("qonnx", reason="qonnx is not installed: pip install qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.extract_conv_bias import ExtractBiasFromConv
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.transformation.infer_datatypes import InferDataTypes
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
    from qonnx.transformation.quant_constant_folding import FoldTransposeIntoQuantInit
    from qonnx.transformation.remove import RemoveIdentityOps
    from qonnx.util.cleanup import cleanup_model

    pixels = random_pixels(53, count=3)
    for rounding, per_channel in itertools.product(ROUNDINGS, (False, True)):
        network = random_network(4, rounding, per_channel=per_channel)
        model = cleanup_model(ModelWrapper(to_qonnx(network)))
        for step in (
            ExtractBiasFromConv(),
            GemmToMatMul(),
            FoldTransposeIntoQuantInit(),
            InferDataTypes(),
            InferDataTypes(),  # after FINN's own FoldQuantWeights and thresholds
            RemoveIdentityOps(),
            LowerConvsToMatMul(),
        ):
            model = model.transform(step)
        assert "Conv" not in {node.op_type for node in model.graph.node}
        source, sink = model.graph.input[0].name, model.graph.output[0].name
        images = seen(network, pixels)
        given = [execute_onnx(model, {source: image[None]})[sink][0] for image in images]
        assert same(values(network, network.logits(pixels)), np.array(given))


@pytest.mark.parametrize("rounding", ["floor", "half_up"])
@pytest.mark.parametrize("n", [0, 1, 2, 9, 13])
def test_thresholds_of_finn_give_our_logits(
    rounding: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FINN counts each k with x ≥ (k − ½) · s; no sum lies on one, so that > would do as well."""
    pixels = random_pixels(54, count=3)
    for relu in (True, False):
        network = tie_network(rounding, n, relu, per_channel=n == 9)
        expected = values(network, network.logits(pixels))
        for by in (lambda x: np.floor(x + 0.5), lambda x: np.ceil(x - 0.5)):
            monkeypatch.setitem(ROUND, "ROUND", by)
            assert same(expected, run_by_specification(network, pixels, for_finn=True))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (random_network(3, "half_even"), "rounding = 'half_even': FINN's thresholds round halves"),
        (
            random_network(3, zero_point=0, relu=False),
            "layer 0: zero_point = 0 without ReLU: .*128",
        ),
        (
            tie_network("floor", 23, True, False),
            "layer 5: sums for FINN have a half: .* below 2.23",
        ),
    ],
    ids=["rounding", "codes", "sums"],
)
def test_what_finn_cannot_hold_is_refused(network: IntegerNetwork, message: str) -> None:
    to_qonnx(network)
    with pytest.raises(UnsupportedError, match=message):
        to_qonnx(network, for_finn=True)


def test_windows_say_what_hls4ml_has_no_default_for() -> None:
    nodes = to_qonnx(random_network(1)).graph.node
    said = {node.op_type: {a.name for a in node.attribute} for node in nodes}
    assert said["Conv"] == {"kernel_shape", "strides", "pads", "dilations", "group"}
    assert said["MaxPool"] == {"kernel_shape", "strides", "pads"}


def test_exponents_by_channel_become_the_finest() -> None:
    network = random_network(2, per_channel=True, weight_bits=4)
    exponents = network.layers[0].weight_exponent
    stored = {c.name: numpy_helper.to_array(c) for c in to_qonnx(network).graph.initializer}
    more = max(exponents) - min(exponents)
    assert more > 0
    assert stored["layer0.weight.scale"] == 2.0 ** min(exponents)
    assert stored["layer0.weight.bits"] == 4 + more
    assert stored["layer0.bias.bits"] == 32 + more


def test_a_bias_holds_the_half_and_the_file_says_so() -> None:
    model = to_qonnx(random_network(2, "half_up"))
    said = metadata(model)
    assert said["rounding"] == "floor"
    assert said["scheme_rounding"] == "half_up"
    assert said["bias"] == "2^(shift - 1) is in it: shift with floor"
    assert "bias" not in metadata(to_qonnx(random_network(2, "floor")))


@pytest.mark.parametrize("relu", [False, True])
def test_quant_nodes_have_zero_point_0_and_are_unsigned_after_relu(relu: bool) -> None:
    graph = to_qonnx(random_network(2, relu=relu)).graph
    stored = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    quants = [node for node in graph.node if node.op_type == "Quant"]
    assert all(stored[node.input[2]] == 0 for node in quants)
    # FINN's first steps take a dimension of a bias, and of nothing else.
    dimensions = {node.name: [stored[i].shape for i in node.input[1:3]] for node in quants}
    biases = {name for name in dimensions if name.endswith(".bias")}
    assert len(biases) == 4
    for name, shapes in dimensions.items():
        assert shapes == [(1,) if name in biases else ()] * 2, name
    attributes = {
        node.name: {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for node in quants
    }
    assert attributes["layer0.output"] == {
        "narrow": 0, "rounding_mode": b"FLOOR", "signed": 0 if relu else 1,
    }  # fmt: skip
    assert stored["layer0.output.bits"] == (7 if relu else 8)
    assert attributes["layer0.weight"]["narrow"] == 1
    assert attributes["input"] == {"narrow": 0, "rounding_mode": b"ROUND", "signed": 1}


def test_sums_are_bounded_by_what_relu_leaves() -> None:
    network = lopsided_network("floor")
    assert int(network.layers[5].bound.max()) >= 2**24 > int(network.accumulator_bound(5).max())
    to_qonnx(network)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (random_network(4, zero_point=100), "layer 0: zero_point = 100: .* 0 or 128"),
        (tie_network("floor", 26, True, False), r"layer 5: sums of up to \d+: .* below 2\^24"),
    ],
    ids=["zero point", "sums"],
)
def test_what_qonnx_cannot_say_is_refused(network: IntegerNetwork, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        to_qonnx(network)
