"""The reference arithmetic against numpy and exact fractions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import (
    ROUNDINGS,
    identical_floats,
    network_of,
    networks,
    random_network,
    random_pixels,
)

from powtwo.dataset.normalization import Normalization
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer, accumulate
from powtwo.integer.network import Input, IntegerNetwork
from powtwo.integer.rounding import Rounding


def numpy_accumulators(layer: Layer, codes: np.ndarray) -> np.ndarray:
    """Sum by einsum over windows of codes that are padded with the zero point, in int64."""
    weight, bias = layer.weight.numpy().astype(np.int64), layer.bias.numpy().astype(np.int64)
    z, x = layer.input.zero_point, codes.astype(np.int64)
    if layer.kind == "linear":
        return np.einsum("ni,oi->no", x - z, weight) + bias
    p = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=z)
    windows = np.lib.stride_tricks.sliding_window_view(x, (layer.kernel,) * 2, axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows - z, weight) + bias[:, None, None]


@settings(max_examples=60, deadline=None)
@given(network=networks)
def test_reference_equals_a_numpy_einsum(network: IntegerNetwork) -> None:
    pixels = random_pixels(1)
    x = pixels
    for layer, (accumulators, output) in zip(network.layers, network.outputs(pixels), strict=True):
        if layer.has_weights:
            assert np.array_equal(accumulators.numpy(), numpy_accumulators(layer, x.numpy()))
            assert accumulators.dtype == torch.int32
        x = output


def subset_sums(terms: list[int]) -> set[int]:
    """Return what can be on the way when the terms are added up in some order."""
    sums = {0}
    for term in terms:
        sums |= {one + term for one in sums}
    return sums


@pytest.mark.parametrize(
    ("relu", "zero_point", "ends"),
    [(True, 128, (0, 127)), (True, 0, (0, 255)), (False, 128, (-128, 127)), (False, 0, (0, 255))],
)
@settings(max_examples=25, deadline=None)
@given(numbers=st.lists(st.integers(-127, 127), min_size=8, max_size=8))
def test_the_bound_is_the_largest_partial_sum_in_any_order(
    relu: bool, zero_point: int, ends: tuple[int, int], numbers: list[int]
) -> None:
    codes = ActivationQParams(-3, zero_point, 8)
    ones, zeros = torch.ones(3, 3, dtype=torch.int8), torch.zeros(3, dtype=torch.int32)
    zeroth = Layer("linear", ones, zeros, input=ActivationQParams(-7), output=codes, relu=not relu)
    first = replace(zeroth, input=codes, relu=relu)
    weight = torch.tensor(numbers[:6]).view(2, 3).to(torch.int8)
    bias = torch.tensor(numbers[6:], dtype=torch.int32) * 300
    second = Layer("linear", weight, bias, input=codes, output=ActivationQParams(-1), relu=True)
    flat = Layer("flatten")
    network = network_of(flat, zeroth, first, flat, second, rounding="half_up", shape=(3, 1, 1))
    bounds = network.accumulator_bound(4).tolist()
    for row, b, bound in zip(weight.tolist(), bias.tolist(), bounds, strict=True):
        inputs = itertools.product(ends, repeat=3)
        terms = ([w * x for w, x in zip(row, some, strict=True)] for some in inputs)
        most = max(abs(each) for products in terms for each in subset_sums([*products, b]))
        assert bound == most + 2  # half a unit of a shift by 2
    assert bool((network.accumulator_bound(4) <= second.bound).all())
    # Pixels go both ways; a shift by 4.
    assert network.accumulator_bound(1).tolist() == [3 * 128 + 8] * 3


def fake_quantized(network: IntegerNetwork, pixels: torch.Tensor) -> torch.Tensor:
    """Run the same network on float64 values that are rounded to their grids after each layer."""
    x = network.input.normalization(pixels, torch.float64)
    for layer, folded in zip(network.layers, identical_floats(network)[1], strict=True):
        x = folded(x)
        if layer.output:
            e, z = layer.output.exponent, layer.output.zero_point
            x = fixedpoint.dequantize(fixedpoint.quantize(x, e, layer.output.grid), e, z)
    return x


@settings(max_examples=60, deadline=None)
@given(network=networks)
def test_half_even_equals_the_fake_quantized_network(network: IntegerNetwork) -> None:
    network = replace(network, rounding="half_even")
    pixels = random_pixels(2)
    logits, last = network.logits(pixels), network.layers[-1]
    if last.output is None:
        values = fixedpoint.dequantize(logits, last.accumulator_exponent, 0)
    else:
        values = fixedpoint.dequantize(logits, last.output.exponent, last.output.zero_point)
    assert torch.equal(values, fake_quantized(network, pixels))


def test_the_data_are_rich_in_ties_and_in_saturation() -> None:
    network, pixels = random_network(3), random_pixels(3)
    accumulators, codes = next(network.outputs(pixels))
    layer = network.layers[0]
    unit = 2 ** int(layer.shift)
    live = accumulators[accumulators > 0]
    assert (live % unit == unit // 2).float().mean() > 0.02  # ties between two codes
    assert (codes == 255).any()
    assert (codes == 128).any()
    results = {r: next(replace(network, rounding=r).outputs(pixels))[1] for r in ROUNDINGS}
    for one, other in (("floor", "half_up"), ("floor", "half_even"), ("half_up", "half_even")):
        assert not torch.equal(results[one], results[other])


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_relu_pooling_and_rounding_commute(rounding: Rounding) -> None:
    values = torch.arange(-5000, 5000, dtype=torch.int32)[torch.randperm(10_000)].view(1, 4, 50, 50)

    def shift(x: torch.Tensor) -> torch.Tensor:
        return fixedpoint.shift(x, 5, rounding)

    pool = torch.nn.functional.max_pool2d
    assert torch.equal(shift(values.clamp(min=0)), shift(values).clamp(min=0))
    assert torch.equal(pool(shift(values), 2), shift(pool(values, 2)))


def test_dyadic_input_is_the_raw_byte() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    dyadic = Input((3, 16, 16), ActivationQParams(-7), Normalization("dyadic"))
    assert dyadic.encode(pixels) is pixels
    assert dyadic.table() is None
    values = dyadic.normalization(pixels, torch.float64)
    assert torch.equal(fixedpoint.quantize(values, -7, dyadic.codes.grid), pixels.to(torch.int64))


def test_standard_input_is_the_nearest_code() -> None:
    normalization = Normalization("standard", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    table = Input((3, 16, 16), ActivationQParams(-5), normalization).table()
    for c, (m, s) in enumerate(zip(normalization.mean, normalization.std, strict=True)):
        expected = [min(max(round(32 * (p / 255 - m) / s) + 128, 0), 255) for p in range(256)]
        assert table[c].tolist() == expected


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_no_input_passes_the_bound(network: IntegerNetwork) -> None:
    outputs = network.outputs(random_pixels(4))
    for layer, (accumulators, _) in zip(network.layers, outputs, strict=True):
        if layer.has_weights:
            worst = accumulators.to(torch.int64).abs().transpose(0, 1).flatten(1).amax(1)
            assert (worst <= layer.bound).all()


def test_the_bound_is_reached() -> None:
    """The input that pulls every product of channel 0 down, with −128 against weights above 0."""
    layer = replace(random_network(5).layers[4], output=None)
    weights = layer.weight[0].to(torch.int64)
    expected = layer.bias[0] - 128 * weights.clamp(min=0).sum() + 127 * weights.clamp(max=0).sum()
    pixels = ((weights <= 0) * 255).to(torch.uint8)
    assert accumulate(layer, pixels[None])[0, 0] == expected
    assert expected.abs() <= layer.bound[0]


def test_an_accumulator_that_may_overflow_is_refused() -> None:
    network = random_network(0)
    bias = torch.full((8,), 2**31 - 1, dtype=torch.int32)
    layers = (replace(network.layers[0], bias=bias), *network.layers[1:])
    with pytest.raises(ValueError, match="layer 0: accumulators can reach .* below 2\\^31"):
        replace(network, layers=layers)


@pytest.mark.parametrize("exponent", [-4, -60])
def test_a_shift_out_of_range_is_refused(exponent: int) -> None:
    network = random_network(0)
    layers = (replace(network.layers[0], weight_exponent=exponent + 20), *network.layers[1:])
    with pytest.raises(ValueError, match="layer 0: shifts of"):
        replace(network, layers=layers)
