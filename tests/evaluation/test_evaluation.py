"""Statistics against values worked by hand and against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import identical_floats, random_network, random_pixels

from powtwo import engine
from powtwo.dataset.normalization import Normalization
from powtwo.evaluation import comparison as evaluation


def test_compare_counts_each_image_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    exact = torch.tensor([0, 1, 2, 0, 0, 0, 1, 1])
    measured = torch.tensor([0, 1, 0, 0, 1, 0, 2, 0])
    found = evaluation.compare(labels, exact, measured)
    bounds = {name: found.pop(name) for name in list(found) if name.endswith(("_low", "_high"))}
    assert found == {
        "test_images": 8,
        "float_accuracy": 5 / 8,
        "accuracy": 4 / 8,
        "drop_points": 12.5,
        "agreement": 4 / 8,
        "gained": 1,
        "lost": 2,
        "p_value": 1.0,
    }
    # Four of 8 right; of the paired counts with one added, 3 and 2 in 10.
    z = 1.959963984540054
    half = z / (8 + z**2) * math.sqrt(8 * 0.25 + z**2 / 4)
    assert bounds["accuracy_low"] == pytest.approx(0.5 - half, rel=1e-12)
    assert bounds["accuracy_high"] == pytest.approx(0.5 + half, rel=1e-12)
    half = z * math.sqrt((0.5 - 0.01) / 10)
    assert bounds["drop_points_low"] == pytest.approx(100 * (0.1 - half), rel=1e-12)
    assert bounds["drop_points_high"] == pytest.approx(100 * (0.1 + half), rel=1e-12)


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
