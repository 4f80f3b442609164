"""Calibration and conversion of a small real VGG, against the rules worked out here again."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from powtwo.calibration.exponents import calibrate, sample
from powtwo.calibration.params import Calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.core import tensors
from powtwo.dataset.normalization import Normalization
from powtwo.integer.fixedpoint import power_of_two
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat
from powtwo.integer.network import IntegerNetwork
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import fold, logits, outputs

CLASSES = ("ant", "bee", "cat", "dog")


def scheme(observer: str = "minmax-round", **options: object) -> Scheme:
    clamp = [-8, 0] if observer == "lab" else None
    quantizer = {"observer": observer, "bits": options.pop("bits", 8), "clamp": clamp}
    return Scheme.model_validate({"weights": quantizer, "activations": quantizer, **options})


def trained() -> Checkpoint:
    """Return a network with batch norms that have seen data, so that folding changes weights."""
    torch.manual_seed(0)
    architecture = Architecture((8, "M", 8, "M", 12, "M"), (16,), len(CLASSES))
    network = architecture.build().train()
    for _ in range(3):
        network(torch.randn(16, 3, 32, 32) * 0.7)
    return Checkpoint(architecture, Normalization("dyadic"), dict(network.state_dict()))


CHECKPOINT = trained()
IMAGES = torch.randint(
    0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def calibration(options: Scheme, checkpoint: Checkpoint = CHECKPOINT) -> Calibrated:
    return calibrate(checkpoint, CLASSES, IMAGES, options, batch_size=8)


def convert(options: Scheme, checkpoint: Checkpoint = CHECKPOINT) -> to_integer.Conversion:
    return to_integer.convert(calibration(options, checkpoint), "s", options)


def test_exponents_are_what_the_lab_rule_gives() -> None:
    calibrated = calibration(scheme("lab", logits="codes"))
    folded = fold(CHECKPOINT.network())
    x = IMAGES.double() / 128 - 1
    for layer, output in zip(calibrated.layers, outputs(folded, x), strict=True):
        if layer.folded.weight is None:
            continue
        by_hand = round(math.log2(2 * layer.folded.weight.abs().max() / 254))
        assert layer.weight_exponent == min(max(by_hand, -8), 0)
        by_hand = round(math.log2(2 * output.abs().max() / 255))
        assert layer.output == ActivationQParams(min(max(by_hand, -8), 0), 128, 8)


def test_the_lab_clamp_binds_and_can_be_moved() -> None:
    def exponents(clamp: list[int] | None) -> list[int]:
        lab = scheme("lab")
        lab = lab.model_copy(update={"weights": lab.weights.model_copy(update={"clamp": clamp})})
        layers = calibration(lab).layers
        return [layer.weight_exponent for layer in layers if layer.folded.weight is not None]

    free = exponents(None)
    assert min(free) < -8
    assert exponents([-8, 0]) == [max(e, -8) for e in free]
    assert exponents([-12, -9]) == [min(max(e, -12), -9) for e in free]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
@pytest.mark.parametrize("observer", ["minmax-round", "mse", "percentile", "kl"])
def test_batches_and_their_order_do_not_matter(
    tmp_path: Path, observer: str, batch_size: int
) -> None:
    wanted = scheme(observer)
    for name, pixels, size in (("a", IMAGES, 8), ("b", IMAGES.flip(0), batch_size)):
        calibrate(CHECKPOINT, CLASSES, pixels, wanted, size).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_calibrated_network_survives_its_file(tmp_path: Path) -> None:
    calibrated = calibration(scheme())
    calibrated.save(tmp_path / "a")
    loaded = Calibrated.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert loaded.input == calibrated.input
    assert loaded.classes == CLASSES
    assert [x.output for x in loaded.layers] == [x.output for x in calibrated.layers]


def test_weights_that_are_not_finite_are_refused() -> None:
    weights = {name: tensor.clone() for name, tensor in CHECKPOINT.weights.items()}
    weights["0.weight"][0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="holds an infinity or a NaN"):
        calibration(scheme(), replace(CHECKPOINT, weights=weights))


def test_standard_input_gets_an_exponent_of_its_own() -> None:
    normalization = Normalization("standard", (0.5,) * 3, (0.25,) * 3)
    standard = replace(CHECKPOINT, normalization=normalization)
    given = calibration(scheme("minmax-ceil", bits=4), standard).input
    assert given.codes == ActivationQParams(
        -5, 128, 8
    )  # |x| ≤ 2: ceil(log2(2 / 127.5)) = −5, eight bits
    assert given.normalization == normalization


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


def test_a_bias_beyond_int32_is_refused() -> None:
    calibrated = calibration(scheme())
    layers = list(calibrated.layers)
    folded = replace(layers[0].folded, bias=layers[0].folded.bias + 2.0**20)
    layers[0] = replace(layers[0], folded=folded)
    with pytest.raises(ValueError, match="layer 0: a bias of .* below 2\\^31"):
        to_integer.convert(replace(calibrated, layers=tuple(layers)), "s", scheme())


PER_CHANNEL = {"per": "channel", "bits": 8}


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


def test_a_channel_without_a_shift_to_give_is_refused() -> None:
    options = options_of(weights=PER_CHANNEL)
    calibrated = calibration(options)
    first = calibrated.layers[0]
    bias = first.folded.bias.clone()
    bias[0] = 2.0**40
    layers = (replace(first, folded=replace(first.folded, bias=bias)), *calibrated.layers[1:])
    with pytest.raises(ValueError, match="layer 0: a bias of .* below 2\\^31"):
        to_integer.convert(replace(calibrated, layers=layers), "s", options)


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


def test_conversion_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert(scheme()).network.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert IntegerNetwork.load(tmp_path / "a").scheme == "s"


# Options of a scheme


def options_of(**changes: Any) -> Scheme:
    weights = {"observer": "mse", "bits": 4} | changes.pop("weights", {})
    activations = {"observer": "mse"} | changes.pop("activations", {})
    return Scheme.model_validate({"weights": weights, "activations": activations, **changes})


def weighted(network: IntegerNetwork) -> list[Layer]:
    return [layer for layer in network.layers if layer.has_weights]


def test_a_channel_has_an_exponent_of_its_own_but_in_the_layer_that_gives_int32() -> None:
    options = options_of(weights={"per": "channel", "observer": "minmax-ceil"})
    *layers, last = weighted(convert(options).network)
    folded = [layer.weight for layer in fold(CHECKPOINT.network()) if layer.weight is not None]
    for layer, weight in zip(layers, folded, strict=False):
        by_hand = [math.ceil(math.log2(row.abs().max() / 7)) for row in weight]
        assert layer.weight_exponent == tuple(by_hand)
    assert isinstance(last.weight_exponent, int)
    coded = convert(options.model_copy(update={"logits": "codes"})).network
    assert len(weighted(coded)[-1].weight_exponent) == len(CLASSES)


def test_a_dead_channel_takes_the_coarsest_exponent() -> None:
    weights = {name: tensor.clone() for name, tensor in CHECKPOINT.weights.items()}
    weights["0.weight"][2] = 0
    dead = replace(CHECKPOINT, weights=weights)
    options = options_of(weights={"per": "channel"})
    exponents = weighted(convert(options, dead).network)[0].weight_exponent
    assert exponents[2] == max(exponents[:2] + exponents[3:])


@pytest.mark.parametrize("bits", [4, 8])
def test_zero_point_0_is_for_layers_with_relu(bits: int) -> None:
    options = options_of(activations={"zero_point": 0, "bits": bits}, logits="codes")
    *layers, last = weighted(convert(options).network)
    assert [layer.output.zero_point for layer in layers] == [0] * len(layers)
    assert last.output.zero_point == 2 ** (bits - 1)
    assert layers[0].input.zero_point == 128
    middle = options.activations.model_copy(update={"zero_point": None})
    other = convert(options.model_copy(update={"activations": middle})).network
    # Twice the codes for the same range: an exponent less, where nothing else decides.
    pairs = zip(layers, weighted(other), strict=False)
    assert all(a.output.exponent <= b.output.exponent for a, b in pairs)


def test_the_ends_of_shifts_may_be_uniform() -> None:
    ends = {name: {"kind": "uniform", "weights": 8} for name in ("first", "last")}
    options = options_of(weights={"kind": "power_of_two", "rounding": "learned"}, layers=ends)
    first, *between, last = weighted(convert(options).network)
    assert {layer.weight_format for layer in (first, last)} == {WeightFormat(8)}
    assert {layer.weight_format for layer in between} == {WeightFormat(4, "power_of_two")}
    assert all(layer.weight.unique().numel() > 15 for layer in (first, last))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"first": {"weights": 3}, "0": {"weights": 8}}, "layers: 0: names layer 0 a second time"),
        ({"last": {"activations": 4}}, "activations = 4 of the last layer: its output is int32"),
    ],
)
def test_bits_of_a_layer_that_cannot_be_are_refused(layers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(options_of(layers=layers))


def test_a_layer_of_other_bits_has_its_own_middle() -> None:
    options = options_of(activations={"zero_point": 128}, layers={"first": {"activations": 4}})
    first, second, *_ = weighted(convert(options).network)
    assert (first.output.zero_point, second.output.zero_point) == (8, 128)


@pytest.mark.parametrize("part", ["weights", "activations"])
def test_an_unknown_observer_is_refused_before_any_image(part: str) -> None:
    options = options_of(**{part: {"observer": "median"}})
    with pytest.raises(ValueError, match="observer = 'median': must be one of"):
        calibrate(CHECKPOINT, CLASSES, IMAGES[:0], options, 8)


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
    about, _ = tensors.read(tmp_path / "a")
    assert about["layers"][0]["weight_kind"] == "power_of_two"
    assert about["layers"][0]["weight_code_bits"] == bits
    assert about["layers"][0]["weight_bits"] == 2 ** (bits - 1)


def test_layers_may_have_bits_of_their_own() -> None:
    layers = {"first": {"weights": 8}, "last": {"weights": 6}, "2": {"activations": 5}}
    found = weighted(convert(options_of(layers=layers)).network)
    assert [layer.weight_bits for layer in found] == [8, 4, 4, 4, 6]
    assert [layer.output.bits for layer in found[:-1]] == [8, 5, 8, 8]
    assert found[2].input.bits == 5


def test_bits_for_a_layer_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="layers: 1: no layer with weights; use first, last or"):
        convert(options_of(layers={"1": {"weights": 8}}))


def test_equalizing_changes_weights_and_no_float_logit() -> None:
    plain, equal = (calibration(options_of(equalize=on)) for on in (False, True))
    x = IMAGES.double() / 128 - 1
    assert torch.equal(logits(plain.folded, x), logits(equal.folded, x))
    weights = [
        (a.weight, b.weight)
        for a, b in zip(plain.folded, equal.folded, strict=True)
        if a.weight is not None
    ]
    assert not all(torch.equal(a, b) for a, b in weights)


@pytest.mark.parametrize(
    "changes", [{"bias_correction": True}, {"weights": {"rounding": "learned"}}]
)
def test_what_is_adapted_leaves_the_float_network_to_compare_with(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = calibration(options_of())
    options = options_of(**changes)
    adapted = calibration(options)
    adapted.save(tmp_path / "a")
    loaded = Calibrated.load(tmp_path / "a")
    for a, b, c in zip(plain.layers, adapted.layers, loaded.layers, strict=True):
        if a.folded.weight is not None:
            assert torch.equal(a.folded.weight, c.folded.weight)
            assert torch.equal(b.source.weight, c.source.weight)
            assert torch.equal(b.source.bias, c.source.bias)
            assert not torch.equal(c.source.bias, c.folded.bias) or "weights" in changes
    one, other = (to_integer.convert(x, "s", options).network for x in (adapted, loaded))
    one.save(tmp_path / "b")
    other.save(tmp_path / "c")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_the_sample_is_drawn_by_its_seed_and_none_comes_twice() -> None:
    def drawn(seed: int, count: int) -> list[bytes]:
        options = Calibrate(seed=seed, images=count, batch_size=8)
        return [image.numpy().tobytes() for image in sample(IMAGES, options)]

    assert drawn(0, 10) == drawn(0, 10) != drawn(1, 10)
    assert len(set(drawn(0, 24))) == 24
    assert len(drawn(0, 100)) == 24


def test_options_left_out_change_nothing(tmp_path: Path) -> None:
    """A scheme without options is one with every default, and its file has the bytes it had."""
    plain = {"observer": "mse", "bits": 4}
    weights = plain | {"clamp": None, "kind": "uniform", "per": "tensor", "rounding": "nearest"}
    activations = plain | {"clamp": None, "zero_point": None}
    options = {"rounding": "floor", "bias": "nearest", "logits": "int32", "equalize": False,
               "bias_correction": False, "layers": {}}  # fmt: skip
    full = {"weights": weights, "activations": activations, **options}
    bare = Scheme.model_validate({"weights": plain, "activations": plain})
    assert bare == Scheme.model_validate(full)
    assert set(full) == set(Scheme.model_fields)  # a new option belongs here as well
    assert set(weights) == set(type(bare.weights).model_fields)
    assert set(activations) == set(type(bare.activations).model_fields)

    architecture = Architecture((8, "M", 8, "M", 12, "M"), (16,), len(CLASSES))
    state = architecture.build().state_dict()
    for number, tensor in enumerate(value for value in state.values() if value.dim() > 1):
        steps = torch.arange(tensor.numel()) * (37 + number) % 101 - 50
        tensor.copy_(steps.view_as(tensor) / 256)  # on every machine the same
    for tensor in (value for name, value in state.items() if name.endswith("bias")):
        tensor.zero_()
    network = Checkpoint(architecture, Normalization("dyadic"), state)
    calibrated = calibration(bare, network)
    to_integer.convert(calibrated, "plain", bare).network.save(tmp_path / "plain.safetensors")
    found = hashlib.sha256((tmp_path / "plain.safetensors").read_bytes()).hexdigest()
    assert found == "74360ad6803fd7cedd5b888f6b109d0af187962e0bd1ca8be3bce121e94f22b0"
