"""Shapes of an integer network's layers, read from its file without its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from energy_cases import PIXELS, write_integer_file
from networks import random_network, random_pixels

from powtwo.integer import shapes


def test_weights_that_are_powers_of_two_are_read_from_the_file(tmp_path: Path) -> None:
    power = {"weight_kind": "power_of_two", "weight_code_bits": 4}
    write_integer_file(tmp_path / "a.safetensors", weights=power)
    first, last = shapes.read(tmp_path / "a.safetensors")
    assert (first.weight_kind, first.weight_bits, first.weight_code_bits) == ("power_of_two", 8, 4)
    assert (first.weights, first.biases, first.outputs, first.written) == (108, 4, 64, 16)
    assert (last.weights, last.biases, last.written) == (80, 5, 5)


@pytest.mark.parametrize("logits", ["int32", "codes"])
def test_shapes_equal_those_of_a_network_that_ran(tmp_path: Path, logits: str) -> None:
    network = random_network(0, logits=logits, zero_point=0)
    network.save(tmp_path / "a.safetensors")
    layers = {layer.index: layer for layer in shapes.read(tmp_path / "a.safetensors")}
    x = random_pixels(0)
    for index, (layer, (_, output)) in enumerate(
        zip(network.layers, network.outputs(x), strict=True)
    ):
        assert (index in layers) == layer.has_weights
        if layer.has_weights:
            assert layers[index].input_shape == tuple(x.shape[1:])
            assert layers[index].output_shape == tuple(output.shape[1:])
            assert layers[index].fan_in == layer.weight[0].numel()
            assert layers[index].input_zero_point == layer.input.zero_point
            own = layer.output is not None and layer.shift.dim()
            assert layers[index].shifts == (len(layer.weight) if own else 0)
        x = output
    last = (layers[index].output_bits, layers[index].output_zero_point)
    assert last == ((8, 0) if logits == "codes" else (None, None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"format = 2: must be 1"),
        ({"input": PIXELS | {"shape": [1, 8, 8]}}, r"layer 0: weight \(4, 3, 3, 3\) does not fit"),
        ({"input": PIXELS | {"shape": [3, 2, 2]}}, r"layer 1: kernel = 2: larger than its input"),
        ({"layers": [{"kind": "gelu"}]}, r"layer 0: kind = 'gelu': must be one of 'conv2d', "),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_integer_file(tmp_path / "a.safetensors", **changes)
    with pytest.raises(ValueError, match=message):
        shapes.read(tmp_path / "a.safetensors")


def test_spilled_sums_are_counted_by_position() -> None:
    (first, *_) = shapes.of_layout([32], [], 10)
    tiled = replace(first, accumulator_bits=16, spills=96)
    assert (first.accumulator_bits, first.spills, first.spilled) == (32, 0, 0)
    assert tiled.spilled == 96 * 32 * 32
