"""Runtimes that nobody here wrote: ONNX Runtime and onnx's reference evaluator.

Networks are compared layer by layer: of random networks, one in eight gives the same logits under
`half_up` and `half_even`, but none the same codes throughout.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from processor import REASON, VNNI

from powtwo.integer import fixedpoint
from powtwo.integer.network import IntegerNetwork

LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
SATURATING = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")
Runtime = Callable[[onnx.ModelProto, np.ndarray], list[np.ndarray]]


def run_ort(model: onnx.ModelProto, x: np.ndarray, level: str = "all") -> list[np.ndarray]:
    """Run ONNX Runtime on the model's only input and return its outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = LEVELS[level]
    # Without VNNI, kernels of uint8 × int8 saturate at 16 bits unless this is set.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {model.graph.input[0].name: x}))


def run_ort_plainly(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """Run ONNX Runtime without fusing or moving anything; skips what then saturates."""
    if not VNNI and any(node.op_type in SATURATING for node in model.graph.node):
        pytest.skip(f"{REASON}, unless ONNX Runtime may optimize the graph")
    return run_ort(model, x, "off")


def run_reference(model: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """Run onnx's own evaluator, which is plain NumPy and slow."""
    return list(ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x}))


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": run_ort,
    "onnxruntime, not optimized": run_ort_plainly,
    "onnx.reference": run_reference,
}


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return the model with these tensors as its outputs."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Return what a file says of its network."""
    return {entry.key: entry.value for entry in model.metadata_props}


def layers(network: IntegerNetwork, suffix: str = "") -> list[str]:
    """Name the tensors of an exported graph that hold each layer's output."""
    return [*(f"layer{i}{suffix}" for i in range(len(network.layers) - 1)), "logits"]


def integer_graph_agrees(
    network: IntegerNetwork, model: onnx.ModelProto, pixels: torch.Tensor, run: Runtime = run_ort
) -> bool:
    """Compare every layer's output of an integer-only graph with ours."""
    theirs = run(with_outputs(model, layers(network)), pixels.numpy())
    ours = [output for _, output in network.outputs(pixels)]
    return all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def qdq_graph_agrees(
    network: IntegerNetwork, model: onnx.ModelProto, pixels: torch.Tensor, run: Runtime = run_ort
) -> bool:
    """Compare every layer's codes and the logits of a QDQ graph with ours."""
    theirs = run(with_outputs(model, layers(network, ".output.codes")), pixels.numpy())
    ours = [output.numpy() for _, output in network.outputs(pixels)]
    expected = [stored_codes(network, i, output) for i, output in enumerate(ours[:-1])]
    expected.append(values(network, torch.from_numpy(ours[-1])))
    return all(same(a, b) for a, b in zip(expected, theirs, strict=True))


def stored_codes(network: IntegerNetwork, index: int, codes: np.ndarray) -> np.ndarray:
    """Return codes as a QDQ graph stores them: int8 around 0 where ours are centered."""
    form = network.codes(index)
    assert form is not None
    middle = 2 ** (form.bits - 1)
    if form.zero_point != middle:
        return codes
    return (codes.astype(np.int32) - middle).astype(np.int8)


def same(ours: torch.Tensor | np.ndarray, theirs: np.ndarray) -> bool:
    """Tell whether type, shape and every element are equal."""
    ours = np.asarray(ours)
    return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


def values(network: IntegerNetwork, logits: torch.Tensor) -> np.ndarray:
    """Return the float32 values that a network's logits stand for; exact below 2^24."""
    last = network.last_sums
    if last.output is None:
        return fixedpoint.dequantize(logits, last.accumulator_exponent, 0).float().numpy()
    exponent, zero_point = last.output.exponent, last.output.zero_point
    return fixedpoint.dequantize(logits, exponent, zero_point).float().numpy()
