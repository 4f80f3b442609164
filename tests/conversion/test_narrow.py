"""Accumulators of few bits: every sum fits, by the codes that are nearest."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_vgg import calibration, options_of, weighted

from powtwo.conversion import layer_config, to_integer
from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.narrow import largest_sums, restrict
from powtwo.conversion.scheme import Scheme
from powtwo.integer import tiles
from powtwo.integer.fixedpoint import by_output, quantize
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat, accumulate
from powtwo.network.folded import FoldedLayer

KINDS = ["uniform", "power_of_two"]
SIGNS = [(-128, 127), (0, 255), (-8, 7), (0, 15)]


def layer_of(steps: torch.Tensor, weights: WeightFormat, low: int, bias: int = 0) -> Layer:
    """Return a linear layer of 8- or 4-bit codes with these weights, in steps."""
    bits = 8 if low in (-128, 0) else 4
    return Layer(
        "linear",
        quantize(steps, 0, weights.grid).to(torch.int8),
        torch.full((len(steps),), bias, dtype=torch.int64),
        weight_format=weights,
        input=ActivationQParams(0, -low, bits),
    )


@given(
    bits=st.integers(8, 31),
    bias=st.integers(-(2**12), 2**12),
    half=st.sampled_from([0, 16]),
    codes=st.sampled_from(SIGNS),
)
def test_sums_within_the_limits_fit_and_one_more_need_not(
    bits: int, bias: int, half: int, codes: tuple[int, int]
) -> None:
    low, high = codes
    one = torch.ones(1, dtype=torch.int64)
    limits = [int(limit) for limit in largest_sums(bias * one, half * one, codes, bits)]
    positive, negative, total = limits
    if min(limits) < 0:
        assert abs(bias) + half >= 2 ** (bits - 1)
        return

    def reaches(above: int, below: int) -> int:
        most = above * high - below * low + max(bias, 0)
        least = below * high - above * low + max(-bias, 0)
        return max(most, least) + half

    largest = 2 ** (bits - 1) - 1
    for above in {min(positive, total), 0, min(positive, total // 2)}:
        assert reaches(above, min(negative, total - above)) <= largest
    if low == 0:
        assert reaches(positive + 1, 0) > largest
        assert reaches(0, negative + 1) > largest
    else:
        assert max(reaches(total + 1, 0), reaches(0, total + 1)) > largest


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(8, 14),
    weights=st.builds(WeightFormat, st.integers(2, 4), st.sampled_from(KINDS)),
    low=st.sampled_from([-128, -8, 0]),
    bias=st.integers(-120, 120),
)
def test_what_is_restricted_fits_and_has_room_for_no_code_more(
    seed: int, bits: int, weights: WeightFormat, low: int, bias: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    largest = weights.grid.quant_max
    steps = torch.randn(5, 30, generator=generator, dtype=torch.float64) * largest / 2
    plain = layer_of(steps, weights, low, bias)
    found = restrict(plain, steps, bits)
    limit = 2 ** (bits - 1)
    assert int(found.narrow_bound.max()) < limit
    over = plain.narrow_bound >= limit
    assert torch.equal(found.weight[~over], plain.weight[~over])
    assert (found.weight.abs() <= plain.weight.abs()).all()
    assert (found.weight.sign() * plain.weight.sign() >= 0).all()
    assert torch.equal(quantize(found.weight.double(), 0, weights.grid), found.weight.long())
    # The worst inputs of each channel, in the reference arithmetic.
    for row, sign in product(range(5), (1, -1)):
        x = torch.where(sign * found.weight[row] > 0, plain.input.grid.quant_max, 0)
        integer = replace(found, bias=found.bias.int())
        sums = accumulate(integer, x[None].to(torch.uint8))
        assert abs(int(sums[0, row])) < limit


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), limit=st.integers(0, 12))
def test_no_codes_that_fit_are_nearer(seed: int, limit: int) -> None:
    """All 7^4 choices of four uniform codes, of either sign of input."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(1, 4, generator=generator, dtype=torch.float64) * 3
    weights, bits = WeightFormat(3), 12
    bias = 2 ** (bits - 1) - 1 - 128 * limit
    found = restrict(layer_of(steps, weights, -128, bias), steps, bits)
    every = torch.tensor(list(product(range(-3, 4), repeat=4)))
    fit = every[every.abs().sum(1) <= limit].double()
    best = (fit - steps).square().sum(1).min()
    assert (found.weight - steps).square().sum() == pytest.approx(float(best), rel=1e-9)


def test_the_nearest_codes_by_hand() -> None:
    steps = torch.tensor([[7.0, 6.4, -7.0, 0.6, 2.0], [1.0, 1.0, 1.0, -1.0, 0.0]]).double()
    plain = layer_of(steps, WeightFormat(4), 0)  # Σ of positive codes 16 and of negative ones 7
    found = restrict(plain, steps, 12)  # 2,047 / 255 = 8.03, so that no sum may pass 8
    assert found.weight.tolist() == [[4, 3, -7, 0, 0], [1, 1, 1, -1, 0]] or (
        found.weight.tolist() == [[4, 4, -7, 0, 0], [1, 1, 1, -1, 0]]
    )
    powers = layer_of(steps * 4, WeightFormat(4, "power_of_two"), 0)  # 32 32 −32 2 8; 4 4 4 −4 0
    found = restrict(powers, steps * 4, 14)  # 8,191 / 255 = 32.1
    assert found.weight.tolist() == [[16, 16, -32, 0, 0], [4, 4, 4, -4, 0]]


def narrow_scheme(**options: object) -> Scheme:
    activations = {"bits": 4, "zero_point": 0}
    return options_of(activations=activations, rounding="half_up", **options)


@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [9, 12, 16])
def test_every_layer_keeps_the_width_that_a_scheme_asks_for(kind: str, per: str, bits: int) -> None:
    options = narrow_scheme(
        weights={"kind": kind, "per": per},
        accumulator={"bits": bits},
        layers={"first": {"accumulator": 18}},
    )
    calibrated = calibration(options)
    conversion = to_integer.convert(calibrated, "s", options)
    first, *others = weighted(conversion.network)
    assert first.accumulator_bits == 18
    for layer in others:
        assert layer.accumulator_bits == bits
        assert int(layer.narrow_bound.max()) < 2 ** (bits - 1)
    metrics = to_integer.metrics(conversion)
    assert metrics["accumulator_bits"] <= max(bits, 18)
    plain = to_integer.convert(calibrated, "s", options.model_copy(update={"accumulator": None}))
    moved = [
        (one.weight != other.weight).sum().item()
        for one, other in zip(weighted(plain.network), weighted(conversion.network), strict=True)
        if one.weight_exponent == other.weight_exponent
    ]
    assert metrics["restricted_weights"] >= sum(moved)
    assert (bits > 9) or conversion.restricted_weights or conversion.moves
    told = [line for line in conversion.told if "moved towards 0" in line]
    assert len(told) == len(conversion.restrictions)


def test_first_layers_are_told_to_take_more_bits_or_tiles() -> None:
    options = narrow_scheme(weights={"bits": 8}, accumulator={"bits": 12})
    conversion = to_integer.convert(calibration(options), "s", options)
    line = next(
        line for line in conversion.told if line.startswith("layer 0: ") and "moved" in line
    )
    assert 'need none: set layers: "0": {accumulator: ' in line
    assert line.endswith("}, or accumulator tiles")
    needed = next(each.needed for each in conversion.restrictions if each.layer == 0)
    wide = options.model_copy(update={"layers": {"0": layer_config.LayerBits(accumulator=needed)}})
    again = to_integer.convert(calibration(wide), "s", wide)
    assert 0 not in {each.layer for each in again.restrictions}


def test_a_bias_beyond_the_width_coarsens_its_channel() -> None:
    folded = FoldedLayer("linear", torch.eye(2, 4).double(), torch.tensor([3000.0, 0.0]).double())
    layer = CalibratedLayer(folded, (0, 0), WeightFormat(4))
    options = options_of()
    width = layer_config.Accumulator(bits=10)
    found = to_integer.convert_layer(
        0, layer, [ActivationQParams(0, 0, 4)], options, accumulator=width
    )
    assert found.weight_exponent[0] >= 3  # 3,000 / 2^3 = 375 is below 2^9
    assert found.weight_exponent[1] == 0
    assert int(found.narrow_bound.max()) < 512


def test_of_one_channel_a_percent_beyond_only_some_codes_move() -> None:
    """Its exponent stays, and so do all other channels, whose exponent it shares."""
    weight = torch.full((3, 13), 3.0).double()
    weight[1] = 5.0  # 65 · 15 = 975, where 951 fits
    bias = torch.tensor([0.0, 72.0, 0.0]).double()
    layer = CalibratedLayer(FoldedLayer("linear", weight, bias), 0, WeightFormat(4))
    found = to_integer.convert_layer(
        0, layer, [ActivationQParams(0, 0, 4)], options_of(),
        accumulator=layer_config.Accumulator(bits=11),
    )  # fmt: skip
    assert found.weight_exponent == 0
    assert torch.equal(found.weight[::2], weight[::2].to(torch.int8))
    assert int((weight[1] - found.weight[1]).sum()) == 2  # 63 · 15 + 72 = 1,017


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [12, 16])
def test_tiles_leave_weights_as_they_are(kind: str, bits: int) -> None:
    weights = {"kind": kind, "per": "channel"}
    plain = narrow_scheme(weights=weights)
    tiled = narrow_scheme(
        weights=weights,
        accumulator={"bits": bits, "tiles": True},
        layers={"first": {"accumulator": 16}},
    )
    calibrated = calibration(plain)
    one, other = (to_integer.convert(calibrated, "s", options) for options in (plain, tiled))
    assert other.restrictions == ()
    pairs = list(zip(weighted(one.network), weighted(other.network), strict=True))
    for before, after in pairs:
        assert torch.equal(before.weight, after.weight)
        assert after.accumulator_bits in (bits, 16)
        limit = 2 ** (after.accumulator_bits - 1)
        if after.tile_ends is None:
            assert int(after.narrow_bound.max()) < limit
        else:
            ends = after.tile_ends.numpy()
            assert tiles.largest_sum(after.weight.numpy(), *after.input_range, ends) < limit
    assert any(after.tile_ends is not None for _, after in pairs) or bits == 16
    assert to_integer.metrics(other)["accumulator_bits"] <= 16


def test_a_tile_that_does_not_hold_one_product_is_refused() -> None:
    options = narrow_scheme(accumulator={"bits": 8, "tiles": True})
    with pytest.raises(
        ValueError, match='layer 0: products reach 896: .*"0": {accumulator: 11} or'
    ):
        to_integer.convert(calibration(options), "s", options)
    wide = options.model_copy(update={"layers": {"0": layer_config.LayerBits(accumulator=11)}})
    first, *_ = weighted(to_integer.convert(calibration(wide), "s", wide).network)
    assert first.accumulator_bits == 11
    assert first.tile_ends is not None
    plain = options.model_copy(update={"layers": {"0": layer_config.LayerBits(accumulator=32)}})
    first, *_ = weighted(to_integer.convert(calibration(plain), "s", plain).network)
    assert (first.accumulator_bits, first.tile_ends) == (32, None)


def test_coarser_exponents_win_where_fine_steps_would_leave_little() -> None:
    """Weights of 7 and 2^9 / 15 = 34: three steps coarser nothing but rounding is lost."""
    weight = torch.full((1, 32), 7.0).double()
    layer = CalibratedLayer(
        FoldedLayer("linear", weight, torch.zeros(1).double()), (0,), WeightFormat(4)
    )
    width = layer_config.Accumulator(bits=10)
    found = to_integer.convert_layer(
        0, layer, [ActivationQParams(0, 0, 4)], options_of(), accumulator=width
    )
    exponents = by_output(found.weight_exponent, found.weight)
    assert found.weight_exponent == (3,)  # 32 codes of 1 stand for 8
    assert (found.weight * 2.0**exponents - weight).abs().max() == 1


def test_many_channels_that_are_moved_are_one_line() -> None:
    options = narrow_scheme(weights={"per": "channel"}, accumulator={"bits": 9})
    conversion = to_integer.convert(calibration(options), "s", options)
    moves = [move for move in conversion.moves if move.layer == 4 and move.tensor == "weight"]
    steps = [move.after - move.before for move in moves]
    assert len(moves) > to_integer.FEW
    line = f"layer 4, {len(moves)} channels: weight exponents {min(steps)} to {max(steps)} coarser"
    assert any(told.startswith(line) for told in conversion.told)
    assert to_integer.metrics(conversion)["moved_exponents"] == len(conversion.moves)


@pytest.mark.parametrize("layers", [{}, {"first": {"weights": 5}}, {"last": {"accumulator": 32}}])
def test_tiles_of_no_width_are_refused(layers: dict) -> None:
    with pytest.raises(ValueError, match="nothing is cut; set accumulator.bits, or leave tiles"):
        options_of(accumulator={"tiles": True}, layers=layers)
    options_of(accumulator={"tiles": True}, layers={**layers, "2": {"accumulator": 31}})
    options_of(accumulator={"tiles": True, "bits": 31}, layers=layers)
