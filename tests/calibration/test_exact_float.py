"""The exact float network: exact sums, and nothing lost that quantization could see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from powtwo.calibration.exact_float import ExactFloatLayer, round_to_grid
from powtwo.network.folded import FoldedLayer


def layer(kind: str) -> FoldedLayer:
    generator = torch.Generator().manual_seed(0)
    shape = (5, 4, 3, 3) if kind == "conv2d" else (5, 36)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    padding = 1 if kind == "conv2d" else 0
    return FoldedLayer(kind, weight, bias, relu=True, padding=padding, kernel=3)


def inputs(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (3, 4, 6, 6) if kind == "conv2d" else (3, 36)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 3


@pytest.mark.parametrize("kind", ["conv2d", "linear"])
def test_sums_are_those_of_integers(kind: str) -> None:
    fine, x = ExactFloatLayer(layer(kind)), round_to_grid(inputs(kind), -4)
    largest = fine.layer.weight[0].numel() * fine.layer.weight.abs().max().item()
    unit = 2.0**-30
    while unit * 2**30 < largest:
        unit *= 2
    weights = (fine.weight / unit).to(torch.int64)
    assert torch.equal(weights.double() * unit, fine.weight)
    units = (x.double() * 2**14).to(torch.int64)
    conv = torch.nn.functional.conv2d
    sums = conv(units, weights, padding=1) if kind == "conv2d" else units @ weights.T
    assert torch.equal((fine.sums(x) * 2**14 / unit).to(torch.int64), sums)


@pytest.mark.parametrize("kind", ["conv2d", "linear"])
def test_no_sum_can_pass_the_mantissa(kind: str) -> None:
    fine = ExactFloatLayer(layer(kind))
    weights = fine.weight.flatten(1).abs().sum(1).max()
    unit = fine.weight.abs()[fine.weight != 0].log2().min().floor().exp2()  # at least one step
    assert weights / unit * 2**22 < 2**53


@pytest.mark.parametrize("kind", ["conv2d", "linear"])
def test_it_follows_the_float_layer_far_below_a_code(kind: str) -> None:
    exact, x = layer(kind), inputs(kind)
    fine = ExactFloatLayer(exact)
    outputs = fine.outputs(fine.sums(round_to_grid(x, -8)), -4).double()
    assert outputs.dtype == torch.float64
    assert (outputs - exact(x)).abs().max() < 2.0**-4 * 2**-10 + 36 * 3 * 2.0**-18
    steps = outputs * 2**14
    assert torch.equal(steps, steps.round())


def test_values_are_rounded_to_a_thousandth_of_a_step_and_clamps() -> None:
    x = torch.tensor([0.3, -0.3, 1e9, -1e9], dtype=torch.float64)
    assert round_to_grid(x, -2).tolist() == [1229 / 4096, -1229 / 4096, 1024.0, -1024.0]


def test_a_layer_of_zeros_is_one() -> None:
    zeros = FoldedLayer("linear", *(torch.zeros(s, dtype=torch.float64) for s in ((2, 3), (2,))))
    assert ExactFloatLayer(zeros).sums(torch.ones(1, 3)).tolist() == [[0, 0]]


@pytest.mark.parametrize("exponent", [-200, -139, -3, 115, 200])
def test_a_grid_beyond_float32_loses_nothing(exponent: int) -> None:
    values = torch.tensor([1.0, -3.0, 2.0**-10]).double() * 2.0**exponent
    assert torch.equal(round_to_grid(values, exponent).double(), values)
