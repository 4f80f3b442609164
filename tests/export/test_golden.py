"""Golden vectors against sums that numpy works out, and their file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from export_cases import odd_network, pixels_for
from hypothesis import given, settings
from networks import networks, random_network

from powtwo.core import arrays
from powtwo.export import golden
from powtwo.integer.network import IntegerNetwork


@settings(max_examples=20, deadline=None)
@given(network=networks)
def test_every_array_is_what_the_reference_gives(network: IntegerNetwork) -> None:
    pixels = pixels_for(network)
    vectors = golden.vectors(network, pixels)
    assert np.array_equal(vectors["pixels"], pixels)
    for index, (sums, output) in enumerate(network.outputs(torch.from_numpy(pixels))):
        assert np.array_equal(vectors[f"layers.{index}.output"], output.numpy())
        name = f"layers.{index}.accumulators"
        assert (name in vectors) is (sums is not None)
        if sums is not None:
            assert np.array_equal(vectors[name], sums.numpy())
            assert vectors[name].dtype == np.int32


def test_a_layer_follows_from_its_input_by_hand() -> None:
    network = random_network(3, "floor")
    vectors = golden.vectors(network, pixels_for(network))
    last = network.layers[5]
    x = vectors["layers.4.output"].astype(np.int64) - last.input.zero_point
    sums = x @ last.weight.numpy().astype(np.int64).T + last.bias.numpy()
    assert np.array_equal(vectors["layers.5.accumulators"], sums)
    first = network.layers[0]
    rectified = np.maximum(vectors["layers.0.accumulators"], 0)
    codes = np.minimum((rectified >> int(first.shift)) + 128, 255)
    assert np.array_equal(vectors["layers.0.output"], codes)


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    network = random_network(1)
    last = network.layers[5]
    flat = replace(last, weight=torch.zeros_like(last.weight), bias=torch.zeros_like(last.bias))
    network = replace(network, layers=(*network.layers[:5], flat))
    predictions = golden.vectors(network, pixels_for(network))["predictions"]
    assert predictions.tolist() == [0] * 6
    assert predictions.dtype == np.int64


def test_the_file_has_the_same_bytes_and_the_same_arrays(tmp_path: Path) -> None:
    network = odd_network()
    vectors = golden.vectors(network, pixels_for(network))
    data = golden.to_bytes(vectors)
    assert data == golden.to_bytes(golden.vectors(network, pixels_for(network)))
    (tmp_path / "golden.npz").write_bytes(data)
    loaded = arrays.read(tmp_path / "golden.npz")
    assert set(loaded) == set(vectors)
    assert all(np.array_equal(loaded[name], array) for name, array in vectors.items())
