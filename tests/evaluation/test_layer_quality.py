"""A layer's figures against their definitions, written out with numpy."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import identical_floats, networks, random_network, random_pixels
from torch import Tensor

from powtwo.engine import make
from powtwo.evaluation.layer_quality import (
    BEYOND,
    INSIDE,
    CodeHistogram,
    LayerQuality,
    measure_layers,
)
from powtwo.integer.layer import WeightFormat
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import FoldedLayer


def measure(
    running: object, layers: list[FoldedLayer], pixels: Tensor, size: int
) -> list[LayerQuality]:
    return [item.quality() for item in measure_layers(running, layers, pixels, size)]


def decibels(exact: np.ndarray, approximate: np.ndarray) -> float:
    return 10 * math.log10((exact**2).sum() / ((exact - approximate) ** 2).sum())


def test_sqnr_of_the_first_layer_is_its_definition() -> None:
    running, layers = identical_floats()
    pixels = random_pixels(1)
    first, *_ = measure(running, layers, pixels, 4)
    x = layers[0](pixels.double() / 128 - 1).numpy()
    codes = next(iter(running.outputs(pixels))).double().numpy()
    assert first.sqnr_db == pytest.approx(decibels(x, (codes - 128) * 2.0**-5), rel=1e-12)
    assert (first.layer, first.kind) == (0, "conv2d")


@pytest.mark.parametrize("per_channel", [False, True])
def test_sqnr_and_clipped_share_of_weights_are_their_definitions(per_channel: bool) -> None:
    network = random_network(4, "floor", per_channel=per_channel, weight_bits=5)
    running, layers = identical_floats(network)
    draw = torch.Generator().manual_seed(1)
    noise = torch.rand(layers[2].weight.shape, generator=draw, dtype=torch.float64) * 4 - 2
    layer = network.layers[2]
    scale = 2.0 ** np.broadcast_to(np.array(layer.weight_exponent), (6,))[:, None, None, None]
    layers[2] = replace(layers[2], weight=layers[2].weight + noise * torch.tensor(scale))
    quality = measure(running, layers, random_pixels(1), 6)[1]
    exact, stored = layers[2].weight.numpy(), layer.weight.numpy() * scale
    assert quality.weight_sqnr_db == pytest.approx(decibels(exact, stored), rel=1e-12)
    assert quality.clipped_weights == (np.abs(np.rint(exact / scale)) > 15).mean() > 0
    exponents = np.broadcast_to(np.array(layer.weight_exponent), (6,))
    assert (quality.weight_exponent_min, quality.weight_exponent_max) == (
        exponents.min(), exponents.max(),
    )  # fmt: skip
    shifts = -5 - layer.input.exponent - exponents
    assert (quality.shift_min, quality.shift_max) == (shifts.min(), shifts.max())
    assert (quality.output_exponent, quality.weight_bits, quality.output_bits) == (-5, 5, 8)


def test_powers_of_two_are_clipped_where_the_next_would_be_nearer() -> None:
    network = random_network(4, "floor")
    draw = torch.Generator().manual_seed(2)
    powers = 2 ** torch.randint(0, 7, network.layers[5].weight.shape, generator=draw)
    last = replace(
        network.layers[5],
        weight=powers.to(torch.int8),
        weight_format=WeightFormat(4, "power_of_two"),
    )
    network = replace(network, layers=(*network.layers[:5], last))
    running, layers = identical_floats(network)
    steps = torch.tensor([96.5, 95.5, -97.0, 65.0, 7.5], dtype=torch.float64)
    weight = layers[5].weight.clone()
    weight[0, :5] = steps * 2.0**last.weight_exponent
    layers[5] = replace(layers[5], weight=weight)
    item = measure_layers(running, layers, random_pixels(1), 6)[-1]
    assert item.quality().clipped_weights == 2 / weight.numel()
    assert (item.histograms["weight"].low, item.histograms["weight"].high) == (-64, 64)


@pytest.mark.parametrize(("bits", "zero_point"), [(8, 128), (8, 0), (4, 8), (4, 0)])
def test_clipped_share_of_activations_is_its_definition(bits: int, zero_point: int) -> None:
    network = random_network(7, "floor", bits=bits, zero_point=zero_point, relu=zero_point == 0)
    running, layers = identical_floats(network)
    pixels = random_pixels(1)
    x = layers[0](pixels.double() / 128 - 1).numpy()
    codes = np.rint(x / 2.0**-5) + zero_point
    expected = ((codes < 0) | (codes > 2**bits - 1)).mean()
    first, *_, last = measure(running, layers, pixels, 4)
    assert first.clipped_activations == expected
    assert bits == 8 or expected > 0
    assert last.clipped_activations is None
    assert (last.output_exponent, last.shift_min, last.output_bits) == (None,) * 3


@settings(max_examples=20, deadline=None)
@given(network=networks)
def test_every_network_has_figures_and_they_do_not_hang_on_the_batches(
    network: IntegerNetwork,
) -> None:
    _, layers = identical_floats(network)
    running, pixels = make(network, "reference"), random_pixels(2)
    whole, pieces = (measure(running, layers, pixels, size) for size in (6, 1))
    assert [row.layer for row in whole] == [0, 2, 4, 5]
    for one, other in zip(whole, pieces, strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, rel=1e-9)
        assert replace(one, sqnr_db=0) == replace(other, sqnr_db=0)
        assert one.weight_sqnr_db == 200
        assert one.clipped_weights == 0


def test_a_silent_layer_has_no_sqnr() -> None:
    running, layers = identical_floats()
    layers[0] = replace(layers[0], weight=layers[0].weight * 0, bias=layers[0].bias * 0)
    with pytest.raises(ValueError, match="layer 0: its float output is zero throughout"):
        measure(running, layers, random_pixels(3), 6)


def test_histograms_count_every_value_once_where_numpy_does() -> None:
    running, layers = identical_floats()
    stats = measure_layers(running, layers, random_pixels(1), 2)
    rows = [row for item in stats for row in item.histogram_rows()]
    assert {(row[0], row[1]) for row in rows} == {
        (0, "weight"), (2, "weight"), (4, "weight"), (5, "weight"),
        (0, "output"), (2, "output"), (4, "output"),
    }  # fmt: skip
    x = layers[0](random_pixels(1).double() / 128 - 1).numpy() / 2.0**-5
    mine = [row for row in rows if row[:2] == (0, "output")]
    edges = [row[2] for row in mine] + [mine[-1][3]]
    assert (edges[0], edges[BEYOND], edges[-1 - BEYOND]) == (-128.5 - 64, -128.5, 127.5)
    clipped = np.clip(x, edges[0], edges[-1])
    assert [row[4] for row in mine] == np.histogram(clipped, edges)[0].tolist()
    assert {row[5:] for row in mine} == {(-128, 127)}
    weights = [row for row in rows if row[:2] == (5, "weight")]
    assert sum(row[4] for row in weights) == layers[5].weight.numel()
    assert {row[5:] for row in weights} == {(-127, 127)}


def test_what_lies_far_out_is_in_the_outermost_bins() -> None:
    histogram = CodeHistogram(-8, 7)
    histogram.update(torch.tensor([-1e9, 1e9, 0.0, 0.0], dtype=torch.float64))
    counts = [row[2] for row in histogram.rows()]
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 4)
    assert counts[BEYOND + INSIDE // 2 + 1] == 2  # 0 is the left edge of its bin: 8.5 steps in
