"""Statistics against values worked by hand and against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network, random_pixels

from powtwo import engine, evaluation
from powtwo.network import FoldedLayer
from powtwo.normalization import Normalization


def test_compare_counts_each_image_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    exact = torch.tensor([0, 1, 2, 0, 0, 0, 1, 1])
    measured = torch.tensor([0, 1, 0, 0, 1, 0, 2, 0])
    assert evaluation.compare(labels, exact, measured) == {
        "test_images": 8,
        "float_accuracy": 5 / 8,
        "accuracy": 4 / 8,
        "drop_points": 12.5,
        "agreement": 4 / 8,
        "gained": 1,
        "lost": 2,
        "p_value": 1.0,
    }


def test_what_schemes_are_chosen_by_is_counted_by_hand() -> None:
    labels, measured = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 0])
    expected = {"validation_images": 4, "validation_accuracy": 3 / 4}
    assert evaluation.on_validation(labels, measured) == expected


@given(gained=st.integers(0, 40), lost=st.integers(0, 40))
def test_p_is_the_exact_binomial_sum(gained: int, lost: int) -> None:
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    assert evaluation.p_value(gained, lost) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


def test_p_of_5_to_0_by_hand() -> None:
    assert evaluation.p_value(0, 5) == pytest.approx(2 / 32, rel=1e-15)


def identical_floats() -> tuple[engine.Engine, list[FoldedLayer]]:
    """Return an integer network and the float network that it stands for, weight by weight."""
    network = random_network(4, "half_even", relu=False)
    layers = []
    for layer in network.layers:
        plain = {"stride": layer.stride, "padding": layer.padding, "kernel": layer.kernel}
        if layer.computes:
            weight = layer.weight.double() * 2.0**layer.weight_exponent
            bias = layer.bias.double() * 2.0 ** int(layer.accumulator_exponent)
            layers.append(FoldedLayer(layer.kind, weight, bias, layer.relu, **plain))
        else:
            layers.append(FoldedLayer(layer.kind, **plain))
    return engine.make(network, "reference"), layers


def test_sqnr_of_the_first_layer_is_its_definition() -> None:
    running, layers = identical_floats()
    pixels = random_pixels(1)
    first, *_ = evaluation.sqnr_by_layer(running, layers, pixels, batch_size=4)
    x = layers[0](pixels.double() / 128 - 1)
    codes = next(iter(running.outputs(pixels))).double()
    noise = x - (codes - 128) * 2.0**-5
    expected = 10 * math.log10(x.square().sum() / noise.square().sum())
    assert first.sqnr_db == pytest.approx(expected, rel=1e-12)
    assert (first.layer, first.kind) == (0, "conv2d")


def test_sqnr_names_computing_layers_alone_and_not_the_batches() -> None:
    running, layers = identical_floats()
    pixels = random_pixels(2)
    whole = evaluation.sqnr_by_layer(running, layers, pixels, batch_size=6)
    pieces = evaluation.sqnr_by_layer(running, layers, pixels, batch_size=1)
    assert [row.layer for row in whole] == [0, 2, 4, 5]
    for one, other in zip(whole, pieces, strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, rel=1e-12)


def test_a_silent_layer_has_no_sqnr() -> None:
    running, layers = identical_floats()
    layers[0] = replace(layers[0], weight=layers[0].weight * 0, bias=layers[0].bias * 0)
    with pytest.raises(ValueError, match="layer 0: its float output is zero throughout"):
        evaluation.sqnr_by_layer(running, layers, random_pixels(3), 6)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_predictions_do_not_depend_on_the_batches(batch_size: int) -> None:
    running, pixels = engine.make(random_network(5)), random_pixels(4)
    expected = running.network.logits(pixels).argmax(1)
    assert torch.equal(evaluation.predictions(running.predict, pixels, batch_size), expected)


def test_float_classes_are_those_of_float64() -> None:
    _, layers = identical_floats()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=generator)
    # Two classes a hair apart, in float64 alone: every image is then a close call.
    last = layers[-1]
    weight = last.weight.clone()
    weight[1] = weight[0]
    bias = last.bias.clone()
    bias[:2] = last.bias.max() + 1e3
    bias[1] += 1e-9
    layers[-1] = replace(last, weight=weight, bias=bias)
    predict = evaluation.float_predictor(layers, Normalization("dyadic"))
    assert predict(pixels).tolist() == [1] * 64


def test_a_spread_reaches_every_class_of_sorted_images() -> None:
    images = torch.arange(1000)
    assert len(evaluation.spread(images, 200)) == 200
    assert set((evaluation.spread(images, 10) // 100).tolist()) == set(range(10))
    assert torch.equal(evaluation.spread(images, 5000), images)
