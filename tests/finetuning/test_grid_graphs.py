"""Networks that are no stacks, fine-tuned: additions, averages, groups, any window, ReLU6."""

from __future__ import annotations

import pytest
import torch
from graphs import graphs
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


def small(*layers: Layer) -> GridNetwork:
    """Return a network on 3 × 4 × 4 codes of step 1, whose last layer gives codes."""
    return on_grid(network_of(*layers, shape=(3, 4, 4), classes="abc"))


CODES = ActivationQParams(-7)
EXPONENTS = {"input": CODES, "output": ActivationQParams(-3)}


def test_gradients_pass_an_addition_in_the_measure_of_each_input() -> None:
    coarse = ActivationQParams(-5)
    weight, bias = torch.full((3, 3, 1, 1), 1, dtype=torch.int8), torch.zeros(3, dtype=torch.int32)
    grid = small(
        Layer("conv2d", weight, bias, 0, input=CODES, output=coarse, kernel=1, inputs=(-1,)),
        Layer("add", input=coarse, second=CODES, output=ActivationQParams(-3), inputs=(0, -1)),
    )
    layer = grid.layer(1)
    x = torch.tensor([[3.0]]), torch.tensor([[5.0]])
    for each in x:
        each.requires_grad_()
    accumulators = layer.accumulate(*x)
    assert accumulators.item() == 3 * 4 + 5
    codes = layer.finish(accumulators)
    assert codes.item() == 17 >> 4
    codes.backward()
    assert [each.grad.item() for each in x] == [4 / 16, 1 / 16]


def test_an_average_adds_up_in_float32_and_its_gradient_is_a_share_of_each_code() -> None:
    grid = small(Layer("avgpool2d", kernel=(3, 4), stride=2, **EXPONENTS))
    x = torch.full((1, 3, 4, 4), 255.0, dtype=torch.bfloat16, requires_grad=True)
    layer = grid.layer(0)
    sums = layer.accumulate(x)
    assert sums.unique().item() == 255 * 12
    assert int(layer.accumulator_exponent) == -7 - 4
    layer.finish(sums).sum().backward()
    assert x.grad[:, :, :3].unique().tolist() == [2.0**-8]
    assert not x.grad[:, :, 3:].any()


def test_gradients_stop_where_a_relu6_cuts_and_the_cut_moves_with_the_exponent() -> None:
    six = Layer("avgpool2d", kernel=1, relu=True, maximum=128 + 48, **EXPONENTS)
    layer = small(six).layer(0)
    x = torch.tensor([-5.0, 47 * 16.0, 48 * 16.0, 49 * 16.0, 255 * 16.0], requires_grad=True)
    codes = layer.finish(x)
    assert codes.tolist() == [0, 47, 48, 48, 48]
    codes.sum().backward()
    assert x.grad.tolist() == [0, 1 / 16, 1 / 16, 0, 0]
    layer.output_exponent.fill_(-1)
    layer.prepare()
    assert layer.finish(x).tolist() == [0, 11, 12, 12, 12]


def test_a_pooling_comes_first_where_it_alone_reads_the_layer() -> None:
    pool = {"kernel": 2, "stride": 2}
    both = small(
        Layer("avgpool2d", kernel=1, **EXPONENTS),
        Layer("maxpool2d", **pool),
        Layer("avgpool2d", kernel=2, stride=2, input=EXPONENTS["output"],
              output=EXPONENTS["output"], inputs=(0,)),
        Layer("add", input=EXPONENTS["output"], second=EXPONENTS["output"],
              output=EXPONENTS["output"], inputs=(1, 2)),
    )  # fmt: skip
    names = [[step.name for step in steps] for steps in both.steps]
    assert names[:2] == [["accumulate", "finish"], ["pool_or_flatten"]]
    alone = small(Layer("avgpool2d", kernel=1, **EXPONENTS), *[Layer("maxpool2d", **pool)] * 2)
    names = [[step.name for step in steps] for steps in alone.steps]
    assert names == [["accumulate"], ["pool_or_flatten", "finish"], ["pool_or_flatten"]]


def test_it_trains_in_bfloat16_and_gives_every_layer_a_gradient() -> None:
    grid = tuned(options_of())
    with torch.autocast("cpu", torch.bfloat16):
        grid(NORMALIZED).square().mean().backward()
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in grid.parameters())


def test_observers_choose_the_outputs_of_additions_and_averages_anew() -> None:
    grid = tuned(options_of())
    refit(grid, NORMALIZED)
    before = [int(layer.output_exponent) for layer in grid.sums[:-1]]
    with torch.no_grad():  # all that is given is 4 times as much, and below 6
        for layer in grid.weighted:
            layer.bias *= 4
        grid.weighted[0].weight *= 4
    refit(grid, NORMALIZED)
    assert [int(layer.output_exponent) for layer in grid.sums[:-1]] == [e + 2 for e in before]


def test_a_state_that_is_loaded_brings_its_exponents() -> None:
    one, other = tuned(options_of()), tuned(options_of())
    with torch.no_grad():
        for layer in one.weighted:
            layer.weight *= 3
    refit(one, NORMALIZED)
    assert not torch.equal(one(NORMALIZED), other(NORMALIZED))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(NORMALIZED), other(NORMALIZED))
