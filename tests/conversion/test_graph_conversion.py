"""A residual network from floats to integers: calibrated, reconstructed, converted, moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_graph import CLASSES, checkpoint, images
from small_vgg import options_of, scheme

from powtwo.calibration import equalization
from powtwo.calibration.exponents import calibrate
from powtwo.conversion import layer_config, to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.engine.choose import make
from powtwo.evaluation import layer_quality
from powtwo.integer.network import IntegerNetwork
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import logits
from powtwo.network.folding import fold
from powtwo.network.graph import GraphArchitecture
from powtwo.network.spec import LayerSpec, Specs

LEARNED = {"observer": "mse", "bits": 4, "rounding": "learned", "per": "channel"}
OPTIONS: dict[str, dict[str, Any]] = {
    "floor": {},
    "half_even": {"rounding": "half_even", "activations": {"observer": "mse", "zero_point": 0}},
    "learned": {"weights": LEARNED, "bias_correction": True, "rounding": "half_up"},
    "powers": {"weights": {"observer": "mse", "bits": 4, "kind": "power_of_two"}},
    "codes": {"logits": "codes", "equalize": True, "weights": {"bits": 8}},
}


def calibration(options: Scheme, batch_size: int = 7) -> Calibrated:
    return calibrate(checkpoint(), CLASSES, images(), options, batch_size)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_scheme_gives_integers_near_the_floats(name: str, tmp_path: Path) -> None:
    options = options_of(**OPTIONS[name])
    calibrated = calibration(options)
    calibrated.save(tmp_path / "c")
    loaded = Calibrated.load(tmp_path / "c")
    loaded.save(tmp_path / "d")
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    conversion = to_integer.convert(loaded, "s", options)
    network = conversion.network
    network.save(tmp_path / "n")
    assert IntegerNetwork.load(tmp_path / "n").sources == network.sources
    kinds = [layer.kind for layer in network.layers]
    assert kinds.count("add") == 2
    assert kinds.count("avgpool2d") == 2
    metrics = to_integer.metrics(conversion)
    assert metrics["min_shift"] >= 0
    assert metrics["accumulator_bits"] <= 32
    stats = layer_quality.measure_layers(make(network), loaded.folded, images(8), 8)
    least = 12 if name in ("codes", "half_even") else 3  # dB, of 8 and of 4 bits
    assert min(each.quality().sqnr_db for each in stats) > least


def test_batches_do_not_matter(tmp_path: Path) -> None:
    options = options_of(**OPTIONS["learned"])
    for size in (3, 24):
        calibration(options, size).save(tmp_path / str(size))
    assert (tmp_path / "3").read_bytes() == (tmp_path / "24").read_bytes()


def test_learned_rounding_and_bias_correction_help_grouped_convolutions() -> None:
    """By the error of the logits: weights of 4 bits, all else the same."""
    exact = logits(
        fold(checkpoint().network()), checkpoint().normalization(images(), torch.float64)
    )
    errors = []
    for more in ({}, {"rounding": "learned"}):
        options = options_of(weights=LEARNED | {"rounding": "nearest"} | more, rounding="half_up",
                             bias_correction=bool(more))  # fmt: skip
        network = to_integer.convert(calibration(options), "s", options).network
        values = network.logits(images()) * 2.0 ** network.layers[-1].accumulator_exponent
        errors.append(float((values - exact).square().sum()))
    assert errors[1] < 0.7 * errors[0]


def test_equalization_changes_no_logit_and_says_where_it_stays_off() -> None:
    layers = fold(checkpoint().network())
    grouped = next(i for i, layer in enumerate(layers) if layer.groups == 2)
    layers[grouped] = replace(layers[grouped], weight=layers[grouped].weight / 64)
    equal = equalization.equalize(layers)
    x = checkpoint().normalization(images(), torch.float64)
    assert torch.equal(logits(equal, x), logits(layers, x))
    weighted = [i for i, layer in enumerate(layers) if layer.weight is not None]
    kept = equalization.left_out(layers)
    # 0 is read twice, 1 ends in a ReLU6, 2 and 5 and 7 are added.
    assert [weighted.index(index) for index in kept] == [0, 1, 2, 4, 5]
    changed = [i for i in weighted if not torch.equal(equal[i].weight, layers[i].weight)]
    assert [weighted.index(i) for i in changed] == [3, 4]


def test_equalization_of_a_depthwise_convolution() -> None:
    """Of layers 1 and 2, were there no ReLU6 between them."""
    layers = fold(checkpoint().network())
    layers[1] = replace(layers[1], maximum=None)
    layers[0] = replace(layers[0], weight=layers[0].weight * 64)
    tail = [replace(layer, inputs=None) for layer in layers[:3]]
    equal = equalization.equalize(tail)
    x = checkpoint().normalization(images(), torch.float64)
    assert torch.equal(logits(equal, x), logits(tail, x))
    into = equal[1].weight.flatten(1).abs().amax(1)
    out = equal[0].weight.flatten(1).abs().amax(1)
    ratio = out / into
    assert bool(((ratio > 0.2) & (ratio < 5)).all())


def test_exponents_too_far_apart_to_be_added_are_moved_and_told() -> None:
    options = scheme("minmax-ceil")
    calibrated = calibration(options)
    layers = list(calibrated.layers)
    adds = [i for i, layer in enumerate(layers) if layer.folded.kind == "add"]
    fine, coarse = layers[adds[1]].folded.inputs
    layers[coarse] = replace(layers[coarse], output=replace(layers[coarse].output, exponent=30))
    extreme = replace(calibrated, layers=tuple(layers))
    conversion = to_integer.convert(extreme, "s", options)
    assert any(f"layer {fine}: output exponent" in line for line in conversion.told)
    assert any("accumulators below 2^31" in line for line in conversion.told)
    added = conversion.network.layers[adds[1]]
    assert int(added.bound) < 2**31
    assert 0 <= int(added.shift) <= 31


def test_relu6_cuts_at_the_nearest_code() -> None:
    options = scheme("minmax-floor")
    network = to_integer.convert(calibration(options), "s", options).network
    (layer,) = [layer for layer in network.layers if layer.kind == "conv2d" and layer.groups == 8]
    six = round(6 / 2.0**layer.output.exponent) + layer.output.zero_point
    assert layer.maximum == (six if six < 255 else None)


def test_bits_of_an_addition_can_be_set_and_those_of_its_weights_cannot() -> None:
    layers = fold(checkpoint().network())
    index = next(i for i, layer in enumerate(layers) if layer.kind == "add")
    options = options_of(layers={str(index): {"activations": 5}})
    configs = {each.index: each for each in layer_config.of_scheme(layers, options)}
    assert configs[index].output.quant_max == 31
    options = options_of(layers={str(index): {"weights": 5}})
    with pytest.raises(ValueError, match=f"layers: {index}: has no weights; leave theirs out"):
        layer_config.of_scheme(layers, options)


def test_codes_without_negatives_begin_at_0_after_averages_too() -> None:
    options = options_of(activations={"observer": "mse", "bits": 8, "zero_point": 0})
    layers = fold(checkpoint().network())
    zero_points = {
        each.index: each.output.zero_point
        for each in layer_config.of_scheme(layers, options)
        if each.output is not None
    }
    for index, layer in enumerate(layers):
        if layer.kind == "avgpool2d":
            assert zero_points[index] == 0
        elif index in zero_points:
            assert zero_points[index] == (0 if layer.relu else 128)


def test_an_addition_of_what_one_input_scales_beyond_reason_is_refused() -> None:
    conv = LayerSpec("conv2d", outputs=4, kernel=1)
    layers = (
        conv,
        conv,
        LayerSpec("add", (0, 1)),
        LayerSpec("flatten"),
        LayerSpec("linear", outputs=2),
    )
    architecture = GraphArchitecture(Specs((3, 8, 8), layers))
    torch.manual_seed(0)
    network = architecture.build()
    with torch.no_grad():
        network.get_submodule("1").weight.mul_(2.0**26)
    options = Scheme.model_validate(
        {
            "weights": {"observer": "minmax-round", "bits": 2},
            "activations": {"observer": "minmax-round"},
        }
    )
    given = Checkpoint(architecture, Normalization("dyadic"), dict(network.state_dict()))
    pixels = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"^layer 0: output exponent = \d+: still too fine to be"):
        to_integer.convert(calibrate(given, ("a", "b"), pixels, options, 8), "s", options)
