"""Networks that are no stacks, fine-tuned: additions, averages, groups, any window, ReLU6."""

from __future__ import annotations

import pytest
import torch
from graphs import graphs, random_graph
from hypothesis import given
from hypothesis import strategies as st
from networks import network_of, random_pixels
from small_graph import CLASSES, checkpoint, images
from small_vgg import options_of
from test_grid_network import DTYPES, check_equal, disturb, on_grid

from powtwo.calibration.exponents import calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.scheme import Scheme
from powtwo.finetuning.network import GridNetwork
from powtwo.finetuning.refit import refit
from powtwo.integer.fixedpoint import FLOAT32_EXACT
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork

PIXELS = {seed: random_pixels(seed, size=7) for seed in (1, 2)}
NORMALIZED = checkpoint().normalization(images())
SCHEMES = {
    "floor": {},
    "zero": {"rounding": "half_even", "activations": {"zero_point": 0, "bits": 5}},
    "powers": {"rounding": "half_up", "weights": {"kind": "power_of_two", "per": "channel"}},
    "narrow": {"weights": {"per": "channel"}, "activations": {"bits": 4}, "logits": "codes",
               "accumulator": {"bits": 11}, "layers": {"first": {"accumulator": 20}}},
}  # fmt: skip


def tuned(options: Scheme) -> GridNetwork:
    return GridNetwork(calibrate(checkpoint(), CLASSES, images(), options, 8), options)


def fits_float32(network: GridNetwork) -> bool:
    layers = [layer for layer in network.convert().layers if layer.accumulates]
    return all(int(layer.bound.max()) < FLOAT32_EXACT for layer in layers)


@given(graphs, st.sampled_from(DTYPES))
def test_random_graphs_are_the_integer_network_in_every_bit(
    network: IntegerNetwork, dtype: torch.dtype
) -> None:
    grid = on_grid(network).to(dtype)
    check_equal(grid, dtype if fits_float32(grid) else torch.float64, PIXELS[1])
    disturb(grid)
    check_equal(grid, dtype if fits_float32(grid) else torch.float64, PIXELS[2])


@given(graphs)
def test_they_are_so_after_exponents_were_chosen_anew(network: IntegerNetwork) -> None:
    grid = on_grid(network).double()
    disturb(grid)
    refit(grid, network.input.normalization(PIXELS[1], torch.float64))
    check_equal(grid, torch.float64, PIXELS[2])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_calibrated_residual_network_begins_and_goes_on_in_every_bit(name: str) -> None:
    grid = tuned(options_of(**SCHEMES[name]))
    check_equal(grid, torch.float32, images(8))
    disturb(grid)
    grid.settle()
    check_equal(grid, torch.float32, images(8))
    refit(grid, NORMALIZED)
    check_equal(grid, torch.float32, images(8))
    again = to_integer.convert(grid.calibrated(), "again", grid.scheme)
    assert not again.moves
    assert not again.restrictions


def test_it_begins_with_the_codes_that_calibration_chose() -> None:
    options = options_of()
    calibrated = calibrate(checkpoint(), CLASSES, images(), options, 8)
    expected = to_integer.convert(calibrated, "s", options).network
    assert torch.equal(GridNetwork(calibrated, options).convert().logits(images()),
                       expected.logits(images()))  # fmt: skip
