"""The comparisons with oracles see what they should: each mutation makes every one of them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
import operators
import pytest
import torch
from networks import ROUNDINGS, random_network, random_pixels
from onnx import helper, numpy_helper
from runtimes import integer_graph_agrees, qdq_graph_agrees, run_reference

import powtwo.integer.network
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.integer import fixedpoint
from powtwo.integer.layer import Layer, accumulate, requantize_output
from powtwo.integer.network import IntegerNetwork

PIXELS = random_pixels(41)
Mutation = Callable[[pytest.MonkeyPatch], None]
Check = Callable[[], bool]


def graph(exporter: Any, agrees: Callable[..., bool], network: IntegerNetwork, *run: Any) -> Check:
    model = exporter(network)  # made before anything is mutated
    return lambda: agrees(network, model, PIXELS, *run)


def one_by_one(agree: Callable[[Layer, np.ndarray, str], bool], network: IntegerNetwork) -> Check:
    layers = list(operators.weighted(network, PIXELS))
    return lambda: all(agree(layer, x, "onnxruntime") for layer, x in layers if layer.output)


integer_graph = partial(graph, to_onnx, integer_graph_agrees)
ORACLES: dict[tuple[str, str], Callable[[IntegerNetwork], Check]] = {
    **{("integer graph", r): integer_graph for r in ROUNDINGS},
    **{("integer graph, reference", r): lambda n: integer_graph(n, run_reference)
       for r in ROUNDINGS},
    ("QDQ graph", "half_even"): partial(graph, to_qdq_onnx, qdq_graph_agrees),
    ("QLinear operators", "half_even"): partial(one_by_one, operators.roundings_agree),
}  # fmt: skip


def shift_by(amount: int) -> Mutation:
    honest = fixedpoint.shift

    def mutate(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(fixedpoint, "shift", lambda a, n, r: honest(a, n + amount, r))

    return mutate


def next_rounding(steps: int) -> Mutation:
    honest = fixedpoint.shift
    swap = {r: ROUNDINGS[(i + steps) % len(ROUNDINGS)] for i, r in enumerate(ROUNDINGS)}

    def mutate(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(fixedpoint, "shift", lambda a, n, r: honest(a, n, swap[r]))

    return mutate


def replace_everywhere(patch: pytest.MonkeyPatch, name: str, mutated: Callable[..., Any]) -> None:
    for module in (powtwo.integer.network, operators):
        patch.setattr(module, name, mutated)


def input_zero_point_of_127(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, codes: torch.Tensor) -> torch.Tensor:
        return accumulate(replace(layer, input=replace(layer.input, zero_point=127)), codes)

    replace_everywhere(patch, "accumulate", mutated)


def output_zero_point_of_127(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, accumulators: torch.Tensor, rounding: Any) -> torch.Tensor:
        output = layer.output and replace(layer.output, zero_point=127)
        return requantize_output(replace(layer, output=output), accumulators, rounding)

    replace_everywhere(patch, "requantize_output", mutated)


def padded_zeros(patch: pytest.MonkeyPatch) -> None:
    def mutated(layer: Layer, codes: torch.Tensor) -> torch.Tensor:
        if layer.kind == "conv2d":
            codes = torch.nn.functional.pad(codes, [layer.padding] * 4)  # code 0, which is −z
        return accumulate(replace(layer, padding=0), codes)

    replace_everywhere(patch, "accumulate", mutated)


MUTATIONS = {
    "shift + 1": shift_by(1),
    "shift - 1": shift_by(-1),
    "next rounding": next_rounding(1),
    "last rounding": next_rounding(2),
    "input zero point 127": input_zero_point_of_127,
    "output zero point 127": output_zero_point_of_127,
    "padded zeros": padded_zeros,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("oracle", ORACLES, ids=": ".join)
def test_a_mutated_reference_is_seen(
    oracle: tuple[str, str], mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agrees = ORACLES[oracle](random_network(4, oracle[1]))
    assert agrees()
    MUTATIONS[mutation](monkeypatch)
    assert not agrees()


@pytest.mark.parametrize("mutation", ["input zero point 127", "padded zeros"])
def test_mutated_sums_are_seen(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agrees = one_by_one(operators.sums_agree, random_network(4))
    assert agrees()
    MUTATIONS[mutation](monkeypatch)
    assert not agrees()


def change(model: onnx.ModelProto, name: str, by: int) -> None:
    stored = next(c for c in model.graph.initializer if c.name == name)
    array = numpy_helper.to_array(stored)
    changed = (array.astype(np.int64) + by).astype(array.dtype)
    stored.CopyFrom(numpy_helper.from_array(changed, name))


def pad_with_zeros(model: onnx.ModelProto) -> None:
    """Put a Pad before the second convolution, as an exporter that forgot the zero point would."""
    index, node = next((i, n) for i, n in enumerate(model.graph.node) if n.name == "layer2.sum")
    next(a for a in node.attribute if a.name == "pads").ints[:] = [0] * 4
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")
    model.graph.initializer.append(pads)
    model.graph.node.insert(index, helper.make_node("Pad", [node.input[0], "pads"], ["padded"]))
    model.graph.node[index + 1].input[0] = "padded"


EXPORTED = {
    "shift + 1": lambda model: change(model, "layer0.shift.n", 1),
    "shift - 1": lambda model: change(model, "layer4.shift.n", -1),
    "input zero point 127": lambda model: change(model, "layer2.input_zero_point", -1),
    "output zero point 127": lambda model: change(model, "layer0.code.by", -1),
    "padded zeros": pad_with_zeros,
}


@pytest.mark.parametrize("mutation", EXPORTED)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_a_mutated_export_is_seen(rounding: str, mutation: str) -> None:
    network = random_network(4, rounding)
    model = to_onnx(network)
    assert integer_graph_agrees(network, model, PIXELS)
    EXPORTED[mutation](model)
    assert not integer_graph_agrees(network, model, PIXELS)


@pytest.mark.parametrize("ours", ROUNDINGS)
@pytest.mark.parametrize("theirs", ROUNDINGS)
def test_an_export_with_another_rounding_is_seen(ours: str, theirs: str) -> None:
    network = random_network(4, ours)
    model = to_onnx(replace(network, rounding=theirs))
    assert integer_graph_agrees(network, model, PIXELS) == (ours == theirs)
