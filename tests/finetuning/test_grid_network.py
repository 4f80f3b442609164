"""The network that is fine-tuned computes what the integer network computes, in every bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import identical_floats, networks, random_network, random_pixels
from small_vgg import CHECKPOINT, IMAGES, calibration, options_of

from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Accumulator
from powtwo.finetuning.loop import check_tiles
from powtwo.finetuning.network import GridNetwork
from powtwo.finetuning.refit import refit
from powtwo.finetuning.straight_through import requantize, weight_codes
from powtwo.integer.fixedpoint import Grid, by_channel, dequantize, power_of_two
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

DTYPES = [torch.float32, torch.float64]


def on_grid(network: IntegerNetwork) -> GridNetwork:
    """Return a network that begins as an integer network is."""
    _, folded = identical_floats(network)
    layers = [
        CalibratedLayer(float_layer, layer.weight_exponent, layer.weight_format, layer.output)
        for float_layer, layer in zip(folded, network.layers, strict=True)
    ]
    calibrated = Calibrated(network.classes, network.input, tuple(layers))
    return GridNetwork(calibrated, options_of(rounding=network.rounding))


def disturb(network: GridNetwork) -> None:
    """Move the weights, as training does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))


def check_equal(network: GridNetwork, dtype: torch.dtype, pixels: torch.Tensor) -> None:
    """Compare each layer's output, pooled where pooling follows, and the values of the logits."""
    converted = network.convert()
    normalized = converted.input.normalization(pixels, dtype)
    outputs = [output for _, output in converted.outputs(pixels)]
    for index, x in enumerate(network.outputs(normalized)):
        if network.steps[index][-1].name != "accumulate":
            codes = converted.codes(index)
            zero_point = codes.zero_point if codes else 0
            assert torch.equal(x.double() + zero_point, outputs[index].double())
    last = converted.last_sums
    exponent = last.output.exponent if last.output else last.accumulator_exponent
    zero_point = last.output.zero_point if last.output else 0
    expected = dequantize(outputs[-1], exponent, zero_point)
    assert torch.equal(network(normalized).double(), expected)


@given(networks, st.sampled_from(DTYPES))
def test_its_codes_are_those_of_the_integer_network(
    network: IntegerNetwork, dtype: torch.dtype
) -> None:
    tuned = on_grid(network).to(dtype)
    check_equal(tuned, dtype, random_pixels(1))
    disturb(tuned)
    check_equal(tuned, dtype, random_pixels(2))


@given(networks)
def test_they_are_so_after_exponents_were_chosen_anew(network: IntegerNetwork) -> None:
    tuned = on_grid(network)
    tuned.scheme = tuned.scheme.model_copy(update={"logits": "codes"})
    disturb(tuned)
    refit(tuned, network.input.normalization(random_pixels(1)))
    check_equal(tuned, torch.float32, random_pixels(2))


@pytest.mark.parametrize("accumulator", [{"bits": 10}, {"bits": 12, "tiles": True}])
def test_restricted_codes_are_taken_when_it_settles(accumulator: dict) -> None:
    scheme = options_of(
        weights={"per": "channel"},
        activations={"bits": 4, "zero_point": 0},
        accumulator=accumulator,
        layers={"first": {"accumulator": 20}},
    )
    network = GridNetwork(calibration(scheme), scheme)
    check_equal(network, torch.float32, IMAGES[:4])
    disturb(network)
    network.settle()
    check_equal(network, torch.float32, IMAGES[:4])
    again = to_integer.convert(network.calibrated(), "again", scheme)
    assert not again.restrictions
    assert not again.moves


def test_weights_that_quadruple_have_exponents_two_higher() -> None:
    scheme = options_of(weights={"per": "channel"})
    network = GridNetwork(calibration(scheme), scheme)
    before = [layer.weight_exponent.clone() for layer in network.weighted]
    images = CHECKPOINT.normalization(IMAGES)
    refit(network, images)  # as calibration chose them
    assert all(map(torch.equal, before, [layer.weight_exponent for layer in network.weighted]))
    with torch.no_grad():
        for layer in network.weighted:
            layer.weight *= 4
    refit(network, images)
    for layer, old in zip(network.weighted, before, strict=True):
        assert torch.equal(layer.weight_exponent, old + 2)


def test_a_state_that_is_loaded_brings_its_exponents() -> None:
    network = random_network(3, "half_up", per_channel=True)
    one, other = on_grid(network), on_grid(network)
    pixels = network.input.normalization(random_pixels(1))
    with torch.no_grad():
        for layer in one.weighted:
            layer.weight *= 4
    refit(one, pixels)
    assert not torch.equal(one(pixels), other(pixels))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(pixels), other(pixels))


@given(st.sampled_from(list(Rounding)), st.integers(0, 2**16))
def test_gradients_stop_where_an_activation_is_clamped(rounding: Rounding, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-4000, 4000, (50,), generator=generator).double().requires_grad_()
    codes = requantize(x, torch.tensor(2.0**-4, dtype=torch.float64), rounding, (0, 100))
    codes.sum().backward()
    free = rounding.shift(x.detach().long(), torch.tensor(4))
    assert torch.equal(codes.detach().long(), free.clamp(0, 100))
    assert x.grad is not None
    assert torch.equal(x.grad, ((free >= 0) & (free <= 100)) * 2.0**-4)


def test_gradients_pass_the_rounding_of_weights_and_their_clamping() -> None:
    weight = torch.tensor([-9.0, -0.3, 0.2, 0.9, 7.0]).requires_grad_()
    codes = weight_codes(weight, torch.tensor(0.5), Grid.of_weights(3))
    assert codes.tolist() == [-3, 0, 0, 0, 3]
    (codes * torch.arange(5)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0, 0.5, 1, 1.5, 2]


def test_it_trains_in_bfloat16_and_gives_every_layer_a_gradient() -> None:
    network = on_grid(random_network(5, "half_up"))
    pixels = CHECKPOINT.normalization(random_pixels(4))
    with torch.autocast("cpu", torch.bfloat16):
        network(pixels).square().mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in gradients)


@pytest.mark.parametrize("per_channel", [False, True])
def test_what_was_learned_is_what_conversion_reads(per_channel: bool) -> None:
    network = on_grid(random_network(6, per_channel=per_channel))
    disturb(network)
    for layer, learned in zip(network.weighted, network.calibrated().layers[:1], strict=False):
        assert learned.adapted is not None
        assert torch.equal(learned.adapted.weight, layer.weight.double())
        assert torch.equal(learned.folded.weight, layer.layer.folded.weight)


@given(networks)
def test_what_is_handed_on_lies_on_its_grid_and_converts_to_the_same_integers(
    network: IntegerNetwork,
) -> None:
    tuned = on_grid(network)
    disturb(tuned)
    expected, handed_on = tuned.convert(), tuned.on_grid()
    converted = to_integer.convert(handed_on, "finetune", tuned.scheme).network
    for one, other, layer in zip(expected.layers, converted.layers, handed_on.layers, strict=True):
        if one.has_weights:
            assert torch.equal(one.weight, other.weight)
            assert torch.equal(one.bias, other.bias)
            assert torch.equal(layer.source.weight, other.weight_values)
            assert torch.equal(layer.source.weight.signbit(), other.weight < 0)
            assert (one.weight_exponent, one.output) == (other.weight_exponent, other.output)


def test_a_penalty_pulls_each_weight_towards_0_by_a_share_of_its_step() -> None:
    network = on_grid(random_network(7, per_channel=True))
    layer = network.weighted[0]
    layer.weight.grad = torch.zeros_like(layer.weight)
    layer.pull_to_zero(0.25)
    steps = by_channel(power_of_two(layer.weight_exponent), layer.weight.dim() + 1)
    assert torch.equal(layer.weight.grad.double(), layer.weight.sign() * 0.25 * steps)


def test_shrunk_weights_have_few_codes_to_restrict() -> None:
    scheme = options_of(
        weights={"per": "channel", "bits": 4},
        activations={"bits": 4, "zero_point": 0},
        accumulator={"bits": 9},
        layers={"first": {"accumulator": 20}},
    )
    network = GridNetwork(calibration(scheme), scheme)
    with torch.no_grad():
        for layer in network.weighted:
            layer.weight.mul_(1.5)

    def restricted() -> int:
        return to_integer.convert(network.calibrated(), "s", scheme).restricted_weights

    before = restricted()
    first, *others = network.weighted
    weight = first.weight.clone()
    for _ in range(20):  # as often as training takes a step
        for layer in network.weighted:
            layer.shrink()
    assert torch.equal(first.weight, weight)  # has accumulators wide enough
    assert before > 0
    assert restricted() < before / 10
    assert all(bool(layer.weight.any()) for layer in others)


def test_tiles_must_hold_every_product_that_training_may_make() -> None:
    """-2^7 is a code of 4 bits without 0, and of no weight here, so that conversion goes well."""
    scheme = options_of(
        weights={"kind": "power_of_two_nonzero"},
        activations={"zero_point": 0},
        accumulator={"bits": 15, "tiles": True},
        layers={"first": {"accumulator": 16}},
    )
    calibrated = calibration(scheme)
    network = to_integer.convert(calibrated, "s", scheme).network
    assert all(int(layer.weight.min()) > -128 for layer in network.layers if layer.has_weights)
    with pytest.raises(
        ValueError, match='layer 2: products may come to reach 32640: .*"2": {accumulator: 16} or'
    ):
        check_tiles(network, scheme, calibrated)
    wide = scheme.model_copy(update={"accumulator": Accumulator(bits=16, tiles=True)})
    check_tiles(network, wide, calibrated)
    whole = scheme.model_copy(update={"accumulator": Accumulator(bits=15)})
    check_tiles(network, whole, calibrated)
