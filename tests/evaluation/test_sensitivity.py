"""Sensitivity against the networks it stands for: built, and run from end to end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from graphs import random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ROUNDINGS, identical_floats, networks, random_network, random_pixels
from torch import Tensor

from powtwo.engine import ENGINES, make
from powtwo.evaluation import sensitivity
from powtwo.evaluation.comparison import classify
from powtwo.evaluation.sensitivity import measure_sensitivity, simulate
from powtwo.integer.fixedpoint import by_channel, dequantize
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.network.folded import FoldedLayer, logits


def other_floats(network: IntegerNetwork, seed: int = 0) -> list[FoldedLayer]:
    """Return floats near the integer network: half a step of noise on each weight."""
    _, layers = identical_floats(network)
    draw = torch.Generator().manual_seed(seed)
    for index, layer in enumerate(network.layers):
        if layer.has_weights:
            noise = torch.rand(layer.weight.shape, generator=draw, dtype=torch.float64) * 2 - 1
            exponents = by_channel(torch.tensor(layer.weight_exponent), layer.weight.dim() + 1)
            weight = layers[index].weight + noise * 2.0**exponents
            layers[index] = replace(layers[index], weight=weight)
    return layers


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_simulating_a_layer_on_codes_gives_the_codes_of_the_reference(
    network: IntegerNetwork,
) -> None:
    x = network.input.encode(random_pixels(1))
    for layer, (_, output) in zip(network.layers, network.outputs(random_pixels(1)), strict=True):
        if layer.has_weights:
            given_values = dequantize(x, layer.input.exponent, layer.input.zero_point)
            simulated = simulate(layer, given_values, rounding=network.rounding)
            assert torch.equal(simulated, output.double())
        x = output


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_simulating_a_layer_rounds_as_the_scheme_says(rounding: str) -> None:
    network = random_network(3, rounding, relu=False)
    layer = network.layers[5]
    layer = replace(layer, output=replace(layer.input, exponent=-5))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn((40, 12), generator=draw, dtype=torch.float64)
    scale = 2.0**layer.weight_exponent
    sums = x @ layer.weight.double().T * scale + layer.bias * 2.0**layer.accumulator_exponent
    steps = sums / 2.0**-5
    rounded = {"floor": steps.floor(), "half_up": (steps + 0.5).floor(), "half_even": steps.round()}
    expected = (rounded[rounding] + 128).clamp(0, 255)
    assert torch.equal(simulate(layer, x, rounding=Rounding(rounding)), expected)


def with_float_layer(network: IntegerNetwork, layers: list[FoldedLayer], which: int) -> list:
    """Return functions on values: layer `which` in float, the others integer, one by one."""
    return [
        layer if index == which or not integer.accumulates else AsInteger(network, index)
        for index, (layer, integer) in enumerate(zip(layers, network.layers, strict=True))
    ]


class AsInteger:
    """A layer of integers on the values that its codes stand for."""

    def __init__(self, network: IntegerNetwork, index: int) -> None:
        self.layer, self.rounding = network.layers[index], network.rounding
        self.kind, self.inputs = self.layer.kind, self.layer.inputs

    def __call__(self, *x: Tensor) -> Tensor:
        codes, layer = simulate(self.layer, *x, rounding=self.rounding), self.layer
        if layer.output is None:
            return codes * 2.0**layer.accumulator_exponent
        return (codes - layer.output.zero_point) * 2.0**layer.output.exponent


@pytest.mark.parametrize("engine", ["reference", "float", "int8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("output", ["codes", "int32"])
def test_counts_are_those_of_whole_networks(engine: str, per_channel: bool, output: str) -> None:
    network = random_network(6, "floor", bits=4, per_channel=per_channel, logits=output)
    layers = other_floats(network)
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (48, 3, 8, 8), dtype=torch.uint8, generator=draw)
    x = network.input.normalization(pixels, torch.float64)
    labels = logits(layers, x).argmax(1)
    labels[::5] = 0
    found = measure_sensitivity(make(network, engine), layers, pixels, labels, 20)
    assert found.images == 48
    assert found.exact == int((logits(layers, x).argmax(1) == labels).sum())
    assert found.integer == int((network.logits(pixels).int().argmax(1) == labels).sum())
    assert list(found.alone) == [0, 2, 4, 5]
    for index, alone in found.alone.items():
        mixed = with_float_layer(network, layers, index)
        assert alone.in_float == int((logits(mixed, x).argmax(1) == labels).sum())
        mixed = [*layers[:index], AsInteger(network, index), *layers[index + 1 :]]
        assert alone.quantized == int((logits(mixed, x).argmax(1) == labels).sum())
    counts = {n for alone in found.alone.values() for n in (alone.quantized, alone.in_float)}
    assert len(counts) > 2, "the example tells nothing apart"


@pytest.mark.parametrize("engine", ["reference", "float", "int8", "gpu"])
@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_whole_graphs(engine: str, seed: int) -> None:
    network = random_graph(seed, bits=5, layers=8)
    layers = other_floats(network)
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (40, 3, 7, 7), dtype=torch.uint8, generator=draw)
    x = network.input.normalization(pixels, torch.float64)
    labels = torch.randint(0, 5, (40,), generator=draw)
    found = measure_sensitivity(ENGINES[engine](network, "cpu"), layers, pixels, labels, 16)
    assert found.integer == int((network.logits(pixels).int().argmax(1) == labels).sum())
    for index, alone in found.alone.items():
        mixed = with_float_layer(network, layers, index)
        assert alone.in_float == int((logits(mixed, x).argmax(1) == labels).sum())
        mixed = [*layers[:index], AsInteger(network, index), *layers[index + 1 :]]
        assert alone.quantized == int((logits(mixed, x).argmax(1) == labels).sum())


@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 30))
def test_counts_do_not_depend_on_the_batches(size: int) -> None:
    network = random_network(6, "half_up", bits=4)
    layers, pixels = other_floats(network), random_pixels(3, 20)
    labels = torch.arange(20) % 5
    running = make(network, "reference")
    assert measure_sensitivity(running, layers, pixels, labels, size) == measure_sensitivity(
        running, layers, pixels, labels, 7
    )


def test_no_images_give_no_accuracies() -> None:
    network = random_network(6)
    none = random_pixels(3)[:0]
    found = measure_sensitivity(
        make(network, "reference"), other_floats(network), none, torch.arange(0), 8
    )
    assert found.accuracy() == ("sensitivity", 0, *[None] * 6)
    assert found.row(0) == (None, None)


def test_accuracies_and_rows_are_fractions() -> None:
    alone = {3: sensitivity.LayerAlone(quantized=30, in_float=10)}
    found = sensitivity.Sensitivity(40, 32, 8, alone)
    assert found.accuracy() == ("sensitivity", 40, 0.8, 0.2, *[None] * 4)
    assert found.row(3) == (0.75, 0.25)


def test_classify_is_float64s_choice_from_any_layer_on() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn((50, 4), generator=draw, dtype=torch.float64)
    x[:25, 1] = x[:25].amax(1) + 1
    x[:25, 2] = x[:25, 1] + 1e-12  # a hair that float32 does not see
    assert torch.equal(classify([], x), x.argmax(1))
    assert not torch.equal(x.float().argmax(1), x.argmax(1))
