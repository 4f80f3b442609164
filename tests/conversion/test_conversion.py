"""Conversion of a small real VGG, against the rules worked out here again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_vgg import (
    CHECKPOINT,
    IMAGES,
    PER_CHANNEL,
    calibration,
    convert,
    options_of,
    scheme,
    weighted,
)

from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.core import tensors
from powtwo.integer.fixedpoint import power_of_two
from powtwo.integer.layer import ActivationQParams
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import FoldedLayer, outputs
from powtwo.network.folding import fold


@pytest.mark.parametrize("bias", ["nearest", "floor"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_are_the_float_weights_rounded(bits: int, bias: str) -> None:
    options = scheme(bits=bits, bias=bias)
    calibrated = calibration(options)
    converted = to_integer.convert(calibrated, "s", options)
    rounding, limit, clipped = (round if bias == "nearest" else math.floor), 2 ** (bits - 1) - 1, 0
    for floats, layer in zip(calibrated.layers, converted.network.layers, strict=True):
        if layer.weight is None:
            continue
        scale = 2.0**layer.weight_exponent
        steps = [round(w / scale) for w in floats.folded.weight.flatten().tolist()]
        clipped += sum(abs(step) > limit for step in steps)
        assert layer.weight.flatten().tolist() == [min(max(s, -limit), limit) for s in steps]
        scale *= 2.0**layer.input.exponent
        assert layer.bias.tolist() == [rounding(b / scale) for b in floats.folded.bias.tolist()]
    assert converted.clipped_weights == clipped


def test_integers_follow_the_float_network() -> None:
    network = convert(scheme("minmax-ceil", rounding="half_even")).network
    exact = list(outputs(fold(CHECKPOINT.network()), IMAGES.double() / 128 - 1))[-1]
    last = network.layers[-1]
    values = network.logits(IMAGES) * power_of_two(last.accumulator_exponent)
    assert (values - exact).square().sum() < 0.01 * exact.square().sum()  # better than 20 dB


@pytest.mark.parametrize("kind", ["int32", "codes"])
def test_logits_are_what_the_scheme_asks_for(kind: str) -> None:
    network = convert(scheme(logits=kind)).network
    assert network.logits(IMAGES[:2]).dtype == (torch.int32 if kind == "int32" else torch.uint8)


def with_exponents(network: Calibrated, index: int, weight: int, output: int) -> Calibrated:
    layers = list(network.layers)
    codes = replace(layers[index].output, exponent=output)
    layers[index] = replace(layers[index], weight_exponent=weight, output=codes)
    return replace(network, layers=tuple(layers))


def test_a_negative_shift_coarsens_the_output() -> None:
    calibrated = calibration(scheme())
    converted = to_integer.convert(with_exponents(calibrated, 0, -2, -12), "s", scheme())
    first, second = (layer for layer in converted.network.layers[:3] if layer.has_weights)
    assert converted.moves == (to_integer.Move(0, "output", -12, -9),)  # n = −12 + 7 + 2 = −3
    assert (first.output.exponent, int(first.shift)) == (-9, 0)
    assert second.input == first.output


def test_a_shift_beyond_31_coarsens_the_weight() -> None:
    calibrated = calibration(scheme())
    moved = with_exponents(calibrated, 0, -20, 7)  # n = 7 + 7 + 20 = 34
    converted = to_integer.convert(moved, "s", scheme())
    assert converted.moves[0] == to_integer.Move(0, "weight", -20, -17)
    assert int(converted.network.layers[0].shift) == 31
    # So coarse an input makes the next layer coarsen its output too.
    assert [(m.layer, m.tensor) for m in converted.moves] == [(0, "weight"), (2, "output")]
    assert to_integer.metrics(converted)["moved_exponents"] == 2


@pytest.mark.parametrize("options", [scheme(), options_of(weights=PER_CHANNEL)])
def test_a_bias_beyond_int32_coarsens_the_weight_and_then_the_output(options: Scheme) -> None:
    calibrated = calibration(options)
    first, *others = calibrated.layers
    bias = torch.zeros_like(first.folded.bias)
    bias[0] = 2.0**40
    first = replace(first, folded=replace(first.folded, bias=bias))
    converted = to_integer.convert(replace(calibrated, layers=(first, *others)), "s", options)
    layer = converted.network.layers[0]
    exponents = torch.tensor(layer.weight_exponent).view(-1)
    assert int(exponents[0]) == 17  # 2^40 / 2^(−7 + 17) = 2^30, and 2^31 would be beyond
    assert (layer.output.exponent, int(layer.shift.min()), int(layer.bias[0])) == (10, 0, 2**30)
    kept = "accumulators below 2^31"
    whose = 0 if exponents.numel() > 1 else None
    own = [move for move in converted.moves if move.layer == 0]
    before = first.output.exponent
    assert own[0] == to_integer.Move(0, "output", before, 10, kept)
    assert (own[1].after, own[1].channel, own[1].kept) == (17, whose, kept)
    assert (0 in converted.zeroed) == (whose is None)  # the whole of it, or its one channel


def test_the_output_is_coarsened_first_and_counts_for_the_weights() -> None:
    """Where a channel's shift is below 0 and another's above 31 at once."""
    folded = FoldedLayer("linear", torch.zeros(3, 2).double(), torch.zeros(3).double())
    layer = CalibratedLayer(folded, (0, -29, -40), output=ActivationQParams(-3))
    converted = to_integer.convert_layer(0, layer, [ActivationQParams(0)], scheme())  # −3, 26, 37
    assert converted.output == ActivationQParams(0)
    assert converted.weight_exponent == (0, -29, -31)
    assert converted.shift.tolist() == [0, 29, 31]


def nearly_dead(
    network: Calibrated, exponents: dict[int, int], biases: dict[int, float], scale: float = 0.0
) -> Calibrated:
    """Scale the weights of some channels of the first layer; no other channel has a bias."""
    first, *others = network.layers
    folded = replace(first.folded, weight=first.folded.weight.clone(), bias=torch.zeros(8))
    folded.weight[list(exponents)] *= scale
    folded.bias[list(biases)] = torch.tensor(list(biases.values()), dtype=folded.bias.dtype)
    own = tuple(exponents.get(c, exponent) for c, exponent in enumerate(first.weight_exponent))
    layer = replace(first, folded=folded, weight_exponent=own)
    return replace(network, layers=(layer, *others))


@pytest.mark.parametrize(
    ("bias", "after"), [(0.75, -24), (1 - 2**-12, -23), (1.5, -23), (-6.0, -21)]
)
def test_a_channel_is_as_fine_as_its_accumulators_allow(bias: float, after: int) -> None:
    options = options_of(weights=PER_CHANNEL)
    calibrated = calibration(options)
    # Steps are 2^(−24 − 7) at first, so a bias of 1.5 is 1.5 · 2^31 of them.
    dying = nearly_dead(calibrated, {0: -24}, {0: bias}, 2.0**-20)
    converted = to_integer.convert(dying, "s", options)
    network = converted.network.layers[0]
    assert network.weight_exponent == (after, *calibrated.layers[0].weight_exponent[1:])
    assert int(network.bias[0]) == bias * 2 ** (7 - after)
    move = to_integer.Move(0, "weight", -24, after, "accumulators below 2^31", 0)
    assert [m for m in converted.moves if m.layer == 0] == ([move] if after > -24 else [])


def test_each_channel_that_is_moved_is_told_and_counted() -> None:
    """And accumulators of 2^31 exactly are beyond int32."""
    options = options_of(weights=PER_CHANNEL)
    calibrated = calibration(options)
    output = calibrated.layers[0].output
    assert output is not None
    half = 2.0 ** (output.exponent - 1)  # added before the shift, a part of the bound
    # 6 · 2^31 steps of 2^(−24 − 7), and 2^31.
    dead = nearly_dead(calibrated, {1: -24, 3: -24}, {1: 6.0, 3: 1 - half})
    converted = to_integer.convert(dead, "s", options)
    kept = "accumulators below 2^31"
    moves = [move for move in converted.moves if move.layer == 0]
    assert moves == [to_integer.Move(0, "weight", -24, after, kept, channel)
                     for channel, after in ((1, -21), (3, -23))]  # fmt: skip
    assert to_integer.metrics(converted)["moved_exponents"] == len(converted.moves)
    assert int(converted.network.layers[0].bound[3]) == 2**30


def test_shifts_beyond_31_coarsen_their_channels_alone() -> None:
    options = options_of(weights=PER_CHANNEL)
    calibrated = calibration(options)
    first = calibrated.layers[0]
    assert first.output is not None
    base = first.output.exponent + 7 - 31  # the finest exponent that has a shift of 31
    dead = nearly_dead(calibrated, {0: base - 1, 1: base, 2: base - 3}, {})
    converted = to_integer.convert(dead, "s", options)
    assert [(m.channel, m.before, m.after) for m in converted.moves if m.layer == 0] == [
        (0, base - 1, base), (2, base - 3, base)
    ]  # fmt: skip
    assert converted.network.layers[0].weight_exponent == (*[base] * 3, *first.weight_exponent[3:])


def test_learned_codes_and_corrected_biases_allow_for_a_nearly_dead_channel() -> None:
    weights = {name: tensor.clone() for name, tensor in CHECKPOINT.weights.items()}
    weights["13.weight"][0] *= 2.0**-30  # as weight decay leaves it; a linear layer, no batch norm
    weights["13.bias"][0] = 0.75
    dead = replace(CHECKPOINT, weights=weights)
    options = options_of(weights=PER_CHANNEL | {"rounding": "learned"}, bias_correction=True)
    converted = convert(options, dead)
    layer = converted.network.layers[7]
    assert (7, "accumulators below 2^31") in [(m.layer, m.kept) for m in converted.moves]
    assert 2**29 < int(layer.bound[0]) < 2**31
    *_, (_, codes), _ = converted.network.outputs(IMAGES)
    assert layer.output is not None
    steps = 0.75 * 2.0**-layer.output.exponent
    assert (codes[:, 0].double() - layer.output.zero_point - steps).abs().max() <= 1


def test_metrics_are_those_of_the_layers() -> None:
    converted = convert(scheme(logits="codes"))
    layers = [layer for layer in converted.network.layers if layer.has_weights]
    shifts = [int(layer.shift) for layer in layers]
    metrics = to_integer.metrics(converted)
    assert (metrics["min_shift"], metrics["max_shift"]) == (min(shifts), max(shifts))
    worst = max(int(layer.bound.max()) for layer in layers)
    bits = metrics["accumulator_bits"]
    assert 2 ** (bits - 2) <= worst < 2 ** (bits - 1)


@pytest.mark.parametrize("rounding", ["nearest", "learned"])
@pytest.mark.parametrize(("bits", "largest", "width"), [(3, 8, 5), (4, 128, 8)])
def test_weights_without_zero_survive_conversion_and_file(
    tmp_path: Path, bits: int, largest: int, width: int, rounding: str
) -> None:
    options = options_of(
        weights={"kind": "power_of_two_nonzero", "bits": bits, "rounding": rounding}
    )
    network = convert(options).network
    for layer in weighted(network):
        codes = layer.weight.flatten().tolist()
        assert all(code & (code - 1) == 0 for code in map(abs, codes))
        assert 0 not in codes
        assert -largest <= min(codes) < 0 < max(codes) <= min(largest, 64)
    network.save(tmp_path / "a")
    loaded = IntegerNetwork.load(tmp_path / "a")
    assert [x.weight_format for x in loaded.layers] == [x.weight_format for x in network.layers]
    about, _ = tensors.read(tmp_path / "a", "an integer network")
    keys = ("weight_kind", "weight_code_bits", "weight_bits")
    assert [about["layers"][0][k] for k in keys] == ["power_of_two_nonzero", bits, width]


def test_where_no_code_is_zero_weights_of_nothing_stand_for_little() -> None:
    weights = {name: tensor.clone() for name, tensor in CHECKPOINT.weights.items()}
    weights["13.weight"][:2] = 0
    weights["15.weight"][:] = 0
    dead = replace(CHECKPOINT, weights=weights)
    options = options_of(weights={"kind": "power_of_two_nonzero", "per": "channel"})
    layers = weighted(convert(options, dead).network)
    assert (layers[-2].weight[:2] == 1).all()
    assert max(layers[-2].weight_exponent[:2]) == min(layers[-2].weight_exponent)
    assert layers[-1].weight_values.abs().max() < 2.0**-20  # as fine as its bias allows


@pytest.mark.parametrize(("bits", "values"), [(2, 3), (3, 7), (4, 15)])
def test_weights_that_are_powers_of_two_survive_conversion_and_file(
    tmp_path: Path, bits: int, values: int
) -> None:
    options = options_of(weights={"kind": "power_of_two", "bits": bits})
    network = convert(options).network
    allowed = {0} | {sign * 2**k for sign in (-1, 1) for k in range(2 ** (bits - 1) - 1)}
    assert len(allowed) == values
    for layer in weighted(network):
        assert set(layer.weight.flatten().tolist()) <= allowed
    network.save(tmp_path / "a")
    loaded = IntegerNetwork.load(tmp_path / "a")
    assert [x.weight_format for x in loaded.layers] == [x.weight_format for x in network.layers]
    about, _ = tensors.read(tmp_path / "a", "an integer network")
    assert about["layers"][0]["weight_kind"] == "power_of_two"
    assert about["layers"][0]["weight_code_bits"] == bits
    assert about["layers"][0]["weight_bits"] == 2 ** (bits - 1)
