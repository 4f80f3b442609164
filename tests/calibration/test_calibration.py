"""Calibration of a small real VGG by the options of a scheme, against rules worked out here."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_vgg import (
    CHECKPOINT,
    CLASSES,
    IMAGES,
    calibration,
    convert,
    options_of,
    scheme,
    weighted,
)

from powtwo.calibration.exponents import calibrate, sample
from powtwo.calibration.params import Calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.integer.layer import ActivationQParams, WeightFormat
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import logits, outputs
from powtwo.network.folding import fold


def test_exponents_are_what_the_lab_rule_gives() -> None:
    calibrated = calibration(scheme("lab", logits="codes"))
    folded = fold(CHECKPOINT.network())
    x, exponents = IMAGES.double() / 128 - 1, []
    for layer, output in zip(calibrated.layers, outputs(folded, x), strict=True):
        if layer.folded.weight is None:
            continue
        by_hand = round(math.log2(2 * layer.folded.weight.abs().max() / 254))
        exponents.append(by_hand)
        assert layer.weight_exponent == min(max(by_hand, -8), 0)
        by_hand = round(math.log2(2 * output.abs().max() / 255))
        assert layer.output == ActivationQParams(min(max(by_hand, -8), 0), 128, 8)
    assert min(exponents) < -8, "the clamp does not bind"


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
@pytest.mark.parametrize("observer", ["minmax-round", "mse", "percentile", "kl"])
def test_batches_and_their_order_do_not_matter(
    tmp_path: Path, observer: str, batch_size: int
) -> None:
    wanted = scheme(observer)
    for name, pixels, size in (("a", IMAGES, 8), ("b", IMAGES.flip(0), batch_size)):
        calibrate(CHECKPOINT, CLASSES, pixels, wanted, size).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
        ({"1": {"weights": 8}}, "layers: 1: no layer .*; use first, last or"),
    ],
)
def test_bits_of_a_layer_that_cannot_be_are_refused(layers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(options_of(layers=layers))


@pytest.mark.parametrize("part", ["weights", "activations"])
def test_an_unknown_observer_is_refused_before_any_image(part: str) -> None:
    options = options_of(**{part: {"observer": "median"}})
    with pytest.raises(ValueError, match="observer = 'median': must be one of"):
        calibrate(CHECKPOINT, CLASSES, IMAGES[:0], options, 8)


def test_layers_may_have_bits_of_their_own() -> None:
    layers = {"first": {"weights": 8}, "last": {"weights": 6}, "2": {"activations": 5}}
    options = options_of(activations={"zero_point": 128}, layers=layers)
    network = weighted(convert(options).network)
    assert [layer.weight_bits for layer in network] == [8, 4, 4, 4, 6]
    output_codes = [(layer.output.bits, layer.output.zero_point) for layer in network[:-1]]
    assert output_codes == [(8, 128), (5, 16), (8, 128), (8, 128)]  # each its own middle
    assert network[2].input == network[1].output


def test_equalizing_changes_weights_and_no_float_logit() -> None:
    plain, equal = (calibration(options_of(equalize=on)) for on in (False, True))
    x = IMAGES.double() / 128 - 1
    assert torch.equal(logits(plain.folded, x), logits(equal.folded, x))
    pairs = zip(plain.folded, equal.folded, strict=True)
    assert any(a.weight is not None and not torch.equal(a.weight, b.weight) for a, b in pairs)


@pytest.mark.parametrize(
    "changes", [{"bias_correction": True}, {"weights": {"rounding": "learned"}}]
)
def test_what_is_adapted_and_the_float_network_survive_the_file(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = calibration(options_of())
    options = options_of(**changes)
    adapted = calibration(options)
    adapted.save(tmp_path / "a")
    loaded = Calibrated.load(tmp_path / "a")
    assert (loaded.input, loaded.classes) == (adapted.input, CLASSES)
    for a, b, c in zip(plain.layers, adapted.layers, loaded.layers, strict=True):
        assert b.output == c.output
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
               "bias_correction": False, "layers": {}, "accumulator": None,
               "finetune": None}  # fmt: skip
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
    assert found == "d8661c643c4edda7bcc0eab933c3964e14dc936af13f0d5f636c318b9fb5c0d5"
