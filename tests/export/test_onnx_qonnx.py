"""The QONNX graph is our network, by the qonnx package and by Quant nodes written from its spec."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from runtimes import same, values
from ties import lopsided_network, tie_network

from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.steps import UnsupportedError
from powtwo.integer import fixedpoint
from powtwo.integer.network import IntegerNetwork

ROUND = {
    "ROUND": np.rint,
    "FLOOR": np.floor,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
}


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


def run_by_specification(network: IntegerNetwork, pixels: torch.Tensor) -> np.ndarray:
    graph = ReferenceEvaluator(to_qonnx(network), new_ops=[Quant])
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


def expressible(network: IntegerNetwork) -> bool:
    centered = any(layer.output and layer.output.zero_point for layer in network.layers)
    hidden = [layer for layer in network.layers if layer.output]
    return not (network.rounding == "half_up" and centered and not all(x.relu for x in hidden))


@pytest.mark.parametrize("run", [run_by_specification, run_by_package])
@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_quant_nodes_give_our_logits(run: Any, network: IntegerNetwork) -> None:
    assume(expressible(network))
    pixels = random_pixels(51, count=3)
    assert same(values(network, network.logits(pixels)), run(network, pixels))


@pytest.mark.parametrize("run", [run_by_specification, run_by_package])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 2, 9, 15])
def test_around_every_tie(run: Any, rounding: str, n: int) -> None:
    pixels = random_pixels(52, count=3)
    for relu in (True, False) if rounding != "half_up" else (True,):
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


@pytest.mark.parametrize("relu", [False, True])
def test_quant_nodes_have_zero_point_0_and_are_unsigned_after_relu(relu: bool) -> None:
    graph = to_qonnx(random_network(2, relu=relu)).graph
    stored = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    quants = [node for node in graph.node if node.op_type == "Quant"]
    assert all(stored[node.input[2]] == 0 for node in quants)
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
        (random_network(3, "half_up", relu=False), "layer 0: rounding = 'half_up' without ReLU"),
        (random_network(4, zero_point=100), "layer 0: zero_point = 100: .* 0 or 128"),
        (tie_network("floor", 26, True, False), r"layer 5: sums of up to \d+: .* below 2\^24"),
    ],
    ids=["rounding", "zero point", "sums"],
)
def test_what_qonnx_cannot_say_is_refused(network: IntegerNetwork, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        to_qonnx(network)
