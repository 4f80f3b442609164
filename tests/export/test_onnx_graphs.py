"""The ONNX files of networks that are no stacks, layer by layer, in runtimes nobody here wrote."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_cases import dataset
from graphs import graphs, random_graph
from hypothesis import given, settings
from networks import ROUNDINGS, random_pixels
from runtimes import (
    integer_graph_agrees,
    qdq_graph_agrees,
    run_ort_plainly,
    run_reference,
    same,
    values,
)
from test_onnx_qonnx import run_by_package, run_by_specification

from powtwo.export import manifest
from powtwo.export.bundle import FORMATS, bundle_files
from powtwo.export.course import tensors
from powtwo.export.onnx.integer import to_onnx
from powtwo.export.onnx.qdq import to_qdq_onnx
from powtwo.export.onnx.qonnx import to_qonnx
from powtwo.export.steps import UnsupportedError, steps_of
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork

SIZE = 7


@settings(max_examples=12)
@given(network=graphs)
def test_onnx_runtime_gives_our_codes(network: IntegerNetwork) -> None:
    pixels = random_pixels(3, size=SIZE)
    assert integer_graph_agrees(network, to_onnx(network), pixels)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # pads bytes with NaN
@settings(max_examples=6)
@given(network=graphs)
def test_other_runtimes_give_our_codes(network: IntegerNetwork) -> None:
    pixels = random_pixels(3, count=3, size=SIZE)
    assert integer_graph_agrees(network, to_onnx(network), pixels, run_reference)
    assert integer_graph_agrees(network, to_onnx(network), pixels, run_ort_plainly)


@settings(max_examples=12)
@given(network=graphs)
def test_a_qdq_graph_gives_the_codes_of_half_even(network: IntegerNetwork) -> None:
    network, pixels = replace(network, rounding="half_even"), random_pixels(3, size=SIZE)
    assert qdq_graph_agrees(network, to_qdq_onnx(network), pixels)
    assert qdq_graph_agrees(network, to_qdq_onnx(network), pixels[:2], run_reference)


@settings(max_examples=8)
@given(network=graphs)
def test_a_qonnx_graph_gives_our_logits(network: IntegerNetwork) -> None:
    pixels = random_pixels(3, count=2, size=SIZE)
    ours = values(network, network.logits(pixels))
    assert same(ours, run_by_specification(network, pixels))


def adds_different_layers(network: IntegerNetwork) -> bool:
    """Tell whether qonnx can rename the graph's tensors: of x + x it renames one x alone."""
    adds = [i for i, layer in enumerate(network.layers) if layer.kind == "add"]
    return bool(adds) and all(len(set(network.sources[i])) == 2 for i in adds)


def test_the_qonnx_package_gives_our_logits() -> None:
    drawn = (random_graph(seed, ROUNDINGS[seed % 3], layers=4) for seed in range(60))
    networks = [network for network in drawn if adds_different_layers(network)][:4]
    assert len(networks) == 4
    for network in networks:
        pixels = random_pixels(3, count=2, size=SIZE)
        ours = values(network, network.logits(pixels))
        assert np.array_equal(ours, run_by_package(network, pixels))


def test_what_finn_is_not_given_is_refused() -> None:
    network = random_graph(1, layers=9)
    with pytest.raises(UnsupportedError, match="additions, averages and ReLU6 are not written"):
        to_qonnx(network, for_finn=True)


def test_the_course_file_names_what_it_cannot_say() -> None:
    found = set()
    for seed in range(60):
        try:
            tensors(steps_of(random_graph(seed, layers=3)))
        except UnsupportedError as error:
            found.add(str(error).split(" ", 3)[3].split(",")[0])
    assert {"is of kind add", "is of kind avgpool2d"} <= found
    conv = Layer("conv2d", torch.ones(3, 1, 1, 1, dtype=torch.int8), torch.zeros(3).int(),
                 input=random_graph(0).input.codes, kernel=1, groups=3)  # fmt: skip
    network = random_graph(0)
    flat = (conv, Layer("flatten"))
    network = replace(network, layers=flat, classes=tuple(map(str, range(147))))
    with pytest.raises(UnsupportedError, match=r"weight.bin: layer 0 has 3 groups, which the"):
        tensors(steps_of(network))


def test_a_bundle_says_all_and_leaves_out_the_course() -> None:
    network = random_graph(2, "half_up", layers=8)
    x = np.random.default_rng(0).integers(0, 256, (10, 3, SIZE, SIZE), np.uint8)
    images = dataset(network)
    object.__setattr__(images, "x_test", x)  # of the network's size, which data sets have not yet
    files = bundle_files(network, images, 2, list(FORMATS))
    described = json.loads(files[manifest.FILE])
    assert list(described["left_out"]) == ["course"]
    adds = [layer for layer in described["layers"] if layer["kind"] == "add"]
    assert adds
    for layer in adds:
        assert len(layer["inputs"]) == len(layer["memory"]["input"]) == len(layer["gains"]) == 2
        assert all(file in files for file in layer["memory"]["input"])
    assert described["c99"]["arena_bytes"] > 0
