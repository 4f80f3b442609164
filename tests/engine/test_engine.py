"""Every engine equals the reference, in every code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network, random_pixels
from processor import VNNI, needs_vnni

from powtwo import engine
from powtwo.engine import Engine, Float, Int8
from powtwo.engine.floats import FloatStep, exact_parts
from powtwo.engine.int8 import fits
from powtwo.integer.layer import ActivationQParams, Layer, accumulate
from powtwo.integer.network import IntegerNetwork

FAST = [Float, pytest.param(Int8, marks=needs_vnni)]


def assert_equal(candidate: type[Engine], network: IntegerNetwork, pixels: torch.Tensor) -> None:
    expected = [output for _, output in network.outputs(pixels)]
    outputs = list(candidate(network).outputs(pixels))
    for index, (ours, right) in enumerate(zip(outputs, expected, strict=True)):
        assert ours.dtype == right.dtype, index
        assert torch.equal(ours, right), index
    assert torch.equal(candidate(network).logits(pixels), expected[-1])


@pytest.mark.parametrize("candidate", FAST)
@settings(max_examples=150, deadline=None)
@given(network=networks)
def test_equals_the_reference(candidate: type[Engine], network: IntegerNetwork) -> None:
    assert_equal(candidate, network, random_pixels(7))


@pytest.mark.parametrize("candidate", FAST)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 4, 9, 14, 15, 20])
def test_equals_the_reference_around_every_tie(
    candidate: type[Engine], rounding: str, n: int
) -> None:
    """A linear layer of one weight and all codes as input, its bias sweeping across the ties."""
    network = random_network(0, rounding)
    last = network.layers[5]
    biases = torch.arange(-6, 6) + (1 << n >> 1)
    layer = replace(
        last,
        weight=torch.ones((12, 12), dtype=torch.int8) * (torch.arange(12) == 0),
        bias=torch.cat([biases]).to(torch.int32),
        output=replace(last.input, exponent=last.input.exponent + n),
        weight_exponent=0,
    )
    layer = replace(layer, weight=layer.weight.to(torch.int8))
    network = replace(network, layers=(*network.layers[:5], layer))
    assert_equal(candidate, network, random_pixels(8, count=200))


def big_network(scale: int) -> IntegerNetwork:
    """Make sums beyond 2^24, where float32 is not exact."""
    network = random_network(2, relu=False, logits="int32")
    layers = list(network.layers)
    weight = torch.full_like(layers[4].weight, 127)
    layers[4] = replace(layers[4], weight=weight, bias=layers[4].bias * 0 + scale + 1)
    return replace(network, layers=tuple(layers))


def test_a_bias_beyond_float32_is_added_in_float64() -> None:
    network = big_network(2**28)
    assert Float(network).steps[4].bias.dtype == torch.float64
    assert Float(network).steps[0].bias.dtype == torch.float32
    assert_equal(Float, network, random_pixels(9))


@pytest.mark.parametrize("kind", ["conv2d", "linear"])
def test_products_beyond_float32_are_summed_in_parts_that_it_holds(kind: str) -> None:
    """Every weight and every input at its largest, then an odd sum that float32 would round."""
    channels, inside = (1000, 9) if kind == "conv2d" else (3000, 1)
    weight = torch.full((2, channels, 3, 3) if inside == 9 else (2, channels), 127)
    weight[0].view(-1)[-1] = 126
    bias = torch.tensor([2, -1], dtype=torch.int32)
    layer = Layer(
        kind,
        weight=weight.to(torch.int8),
        bias=bias,
        input=ActivationQParams(0, 0, 8),
        stride=1,
        kernel=3,
    )
    parts = exact_parts(layer)
    one = 127 * inside * 255
    assert [part.start for part in parts] == list(range(0, channels, (2**24 - 1) // one))
    assert parts[-1].stop == channels
    x = torch.full((1, channels, 3, 3) if inside == 9 else (1, channels), 255)
    step = FloatStep(layer, "floor", torch.device("cpu"))
    expected = accumulate(layer, x.to(torch.uint8))
    assert int(expected[0, 0].item()) % 2 == 1
    assert torch.equal(step(x.float()).to(torch.int32), expected)


def test_a_kernel_too_large_for_any_part_is_left_to_the_reference() -> None:
    layer = Layer(
        "conv2d", weight=torch.full((1, 1, 23, 23), 127, dtype=torch.int8),
        bias=torch.zeros(1, dtype=torch.int32), input=ActivationQParams(0, 0, 8), stride=1, kernel=23,
    )  # fmt: skip
    with pytest.raises(ValueError, match="17131665: float32 is exact below 16777216"):
        exact_parts(layer)


@needs_vnni
def test_a_layer_beyond_the_kernels_falls_back_to_the_reference() -> None:
    network = big_network(2**28)
    assert not fits(network.layers[4], "floor")
    assert_equal(Int8, network, random_pixels(9))


def test_auto_takes_int8_where_it_is_exact() -> None:
    assert isinstance(engine.make(random_network(0)), Int8 if VNNI else Float)


def test_auto_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels without VNNI saturate at 16 bits: stand in for them by clipping a real kernel."""
    from powtwo.engine import int8

    honest = int8._Convolution.__call__
    monkeypatch.setattr(
        int8._Convolution, "__call__", lambda self, x: honest(self, x).clamp(max=200)
    )
    chosen = engine.make(random_network(0))
    assert isinstance(chosen, Float)
    assert "engine int8 is not exact here (layer 0 differs" in capsys.readouterr().err


def test_auto_ends_at_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from powtwo.engine import choose

    monkeypatch.setattr(choose, "_inexact", lambda *_: "broken on purpose")
    assert isinstance(engine.make(random_network(0)), engine.Reference)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="engine = 'gpu': must be auto, float, int8, reference"):
        engine.make(random_network(0), "gpu")


def test_of_equal_logits_the_first_class_wins() -> None:
    network = random_network(0)
    last = network.layers[5]
    tied = replace(last, weight=last.weight * 0, bias=torch.tensor([1, 7, 7, 7, 2]).int())
    network = replace(network, layers=(*network.layers[:5], tied))
    for name in ("reference", "float", "int8"):
        assert engine.make(network, name).predict(random_pixels(0)).tolist() == [1] * 6
