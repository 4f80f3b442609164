"""One layer at a time against operators of ONNX whose arithmetic nobody here wrote.

Then: each comparison with an oracle, this or another, sees every mutation of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from mutations import MUTATIONS
from networks import ROUNDINGS, networks, random_network, random_pixels
from operators import roundings_agree, sum_operator, sums_agree, weighted
from runtimes import RUNTIMES, integer_graph_agrees, qdq_graph_agrees, run_ort, run_reference
from ties import tie_network

from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork

PIXELS = random_pixels(41)
Check = Callable[[], bool]


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_sums_are_those_of_conv_integer_and_matmul_integer(
    runtime: str, network: IntegerNetwork
) -> None:
    for index, (layer, x) in enumerate(weighted(network, random_pixels(31, count=3))):
        assert sums_agree(layer, x, runtime), index


@pytest.mark.parametrize("runtime", RUNTIMES)
@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_half_even_is_what_qlinear_operators_do(runtime: str, network: IntegerNetwork) -> None:
    for index, (layer, x) in enumerate(weighted(network, random_pixels(32, count=3))):
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


def graph(exporter: Any, agrees: Callable[..., bool], network: IntegerNetwork, *run: Any) -> Check:
    model = exporter(network)  # made before anything is mutated
    return lambda: agrees(network, model, PIXELS, *run)


def one_by_one(agree: Callable[[Layer, np.ndarray, str], bool], network: IntegerNetwork) -> Check:
    layers = list(weighted(network, PIXELS))
    return lambda: all(agree(layer, x, "onnxruntime") for layer, x in layers if layer.output)


integer_graph = partial(graph, to_onnx, integer_graph_agrees)
ORACLES: dict[tuple[str, str], Callable[[IntegerNetwork], Check]] = {
    **{("integer graph", r): integer_graph for r in ROUNDINGS},
    **{("integer graph, reference", r): lambda n: integer_graph(n, run_reference)
       for r in ROUNDINGS},
    ("QDQ graph", "half_even"): partial(graph, to_qdq_onnx, qdq_graph_agrees),
    ("QLinear operators", "half_even"): partial(one_by_one, roundings_agree),
}  # fmt: skip


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
    agrees = one_by_one(sums_agree, random_network(4))
    assert agrees()
    MUTATIONS[mutation](monkeypatch)
    assert not agrees()


@pytest.mark.parametrize("ours", ROUNDINGS)
@pytest.mark.parametrize("theirs", ROUNDINGS)
def test_an_export_with_another_rounding_is_seen(ours: str, theirs: str) -> None:
    network = random_network(4, ours)
    model = to_onnx(replace(network, rounding=theirs))
    assert integer_graph_agrees(network, model, PIXELS) == (ours == theirs)
