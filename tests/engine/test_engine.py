"""Every engine equals the reference, in every code."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from graphs import graphs
from hypothesis import given, settings
from networks import ROUNDINGS, network_of, networks, random_network, random_pixels
from processor import VNNI, needs_vnni
from ties import tie_network

from powtwo.engine import choose, int8
from powtwo.engine.base import Engine, Reference
from powtwo.engine.choose import make
from powtwo.engine.floats import Float, FloatStep, exact_parts
from powtwo.engine.gpu import Gpu, on_centered
from powtwo.engine.int8 import Int8, fits
from powtwo.integer.layer import (
    ActivationQParams,
    Layer,
    accumulate,
    pool_or_flatten,
    requantize_output,
)
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

FAST = [Float, pytest.param(Int8, marks=needs_vnni), Gpu]


def assert_equal(candidate: type[Engine], network: IntegerNetwork, pixels: torch.Tensor) -> None:
    engine, expected = candidate(network, "cpu"), [output for _, output in network.outputs(pixels)]
    for index, (ours, right) in enumerate(zip(engine.outputs(pixels), expected, strict=True)):
        assert ours.dtype == right.dtype, index
        assert torch.equal(ours, right), index
    assert torch.equal(engine.logits(pixels, batch_size=4), expected[-1])


@pytest.mark.parametrize("candidate", FAST)
@settings(max_examples=150, deadline=None)
@given(network=networks)
def test_equals_the_reference(candidate: type[Engine], network: IntegerNetwork) -> None:
    assert_equal(candidate, network, random_pixels(7))


@pytest.mark.parametrize("candidate", FAST)
@settings(max_examples=100, deadline=None)
@given(network=graphs)
def test_equals_the_reference_on_graphs(candidate: type[Engine], network: IntegerNetwork) -> None:
    assert_equal(candidate, network, random_pixels(7, size=7))


@pytest.mark.parametrize("candidate", FAST)
@pytest.mark.parametrize("octaves", [0, 6, 8, 18])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_additions_of_every_width_equal_the_reference(
    candidate: type[Engine], rounding: str, octaves: int
) -> None:
    """Accumulators of 9, 15, 17 and 27 bits: below and beyond those of 16, and of float32."""
    fine, coarse = ActivationQParams(-7), ActivationQParams(octaves - 7)
    one, zero = torch.eye(2, dtype=torch.int8), torch.zeros(2, dtype=torch.int32)
    scaled = Layer("linear", one, zero, weight_exponent=octaves, input=fine, output=coarse)
    for shift in {0, 1, octaves}:
        last = Layer(
            "add", input=fine, second=coarse, inputs=(0, 1), output=ActivationQParams(shift - 7)
        )
        layers = (Layer("flatten"), scaled, last)
        network = network_of(*layers, rounding=rounding, shape=(2, 1, 1))
        every = torch.arange(256, dtype=torch.uint8)
        pixels = torch.stack([every, every.roll(77)], 1)[:, :, None, None]
        assert_equal(candidate, network, pixels)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_convolution_beyond_float32_is_exact_in_groups_too(groups: int) -> None:
    weight = torch.full((3, 1536 // groups, 3, 3), 127, dtype=torch.int8)
    bias = torch.tensor([1, 3, 5], dtype=torch.int32)
    layer = Layer("conv2d", weight, bias, input=ActivationQParams(0, 0), kernel=3, groups=groups)
    assert int(layer.bound.max()) > 2**24
    x = torch.full((1, 1536, 3, 3), 255, dtype=torch.uint8)
    step = FloatStep(layer, Rounding.FLOOR, torch.device("cpu"))
    assert torch.equal(step(x.float()).to(torch.int32), accumulate(layer, x))


@pytest.mark.parametrize("candidate", FAST)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("n", [0, 1, 4, 9, 14, 15, 20, 31])
def test_equals_the_reference_around_every_tie_of_every_code(
    candidate: type[Engine], rounding: str, n: int, per_channel: bool
) -> None:
    last = tie_network(rounding, n, relu=False, per_channel=per_channel).layers[-1]
    layers = (Layer("flatten"), last)
    network = network_of(*layers, rounding=rounding, shape=(12, 1, 1), classes="abcdefghijkl")
    every = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 12, 1, 1)
    assert_equal(candidate, network, every)


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
    channels, kernel = (1000, (3, 3)) if kind == "conv2d" else (3000, ())
    weight = torch.full((2, channels, *kernel), 127, dtype=torch.int8)
    weight[0].view(-1)[-1] = 126
    bias = torch.tensor([2, -1], dtype=torch.int32)
    layer = Layer(kind, weight, bias, input=ActivationQParams(0, 0), kernel=len(kernel) and 3)
    parts = exact_parts(layer)
    one = 255 * 127 * (9 if kernel else 1)
    assert [part.start for part in parts] == list(range(0, channels, (2**24 - 1) // one))
    assert parts[-1].stop == channels
    x = torch.full((1, channels, *kernel), 255, dtype=torch.uint8)
    step = FloatStep(layer, Rounding.FLOOR, torch.device("cpu"))
    expected = accumulate(layer, x)
    assert expected[0, 0].item() % 2 == 1
    assert torch.equal(step(x.float()).to(torch.int32), expected)


def test_a_kernel_too_large_for_any_part_is_left_to_the_reference() -> None:
    weight, bias = torch.full((1, 1, 23, 23), 127, dtype=torch.int8), torch.zeros(1).int()
    layer = Layer("conv2d", weight, bias, input=ActivationQParams(0, 0), kernel=23)
    with pytest.raises(ValueError, match="17131665: float32 is exact below 16777216"):
        exact_parts(layer)


@needs_vnni
def test_a_layer_beyond_the_kernels_falls_back_to_the_reference() -> None:
    network = big_network(2**28)
    assert not fits(network.layers[4], Rounding.FLOOR)
    assert_equal(Int8, network, random_pixels(9))


HALF, WHOLE = 2**23, 2**24  # below them float32 holds each multiple of one half, each integer


@pytest.mark.parametrize(
    ("rounding", "n", "limit"),
    [("floor", 15, HALF), ("half_up", 15, HALF), ("half_even", 15, WHOLE), ("floor", 0, WHOLE),
     ("half_up", 16, 0), ("half_even", 16, 0)],
)  # fmt: skip
def test_a_layer_fits_the_kernels_up_to_what_float32_holds(
    rounding: str, n: int, limit: int
) -> None:
    """A bias at the limit: with the products of eight bits, and with what the rounding adds."""
    added = {"floor": -(1 << n >> 1) + (n > 0) / 2, "half_up": (n > 0) / 2, "half_even": 0}
    codes, weight = ActivationQParams(0, 0), torch.ones(1, 1, dtype=torch.int8)
    largest = limit - 255 - added[rounding] - (0.5 if added[rounding] % 1 else 1)
    for bias, expected in ((int(largest), limit > 0), (int(largest) + 1, False)):
        layer = Layer("linear", weight, torch.tensor([bias], dtype=torch.int32),
                      weight_exponent=-n, input=codes, output=codes)  # fmt: skip
        saturates = n <= int8.SATURATING_SHIFT and bias < HALF
        assert fits(layer, Rounding(rounding)) == (expected or saturates)


def test_auto_takes_int8_where_it_is_exact() -> None:
    assert isinstance(make(random_network(0)), Int8 if VNNI else Float)


def test_auto_falls_back_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kernels without VNNI saturate at 16 bits: stand in for them by clipping a real kernel."""
    honest = int8._Kernel.__call__
    monkeypatch.setattr(int8._Kernel, "__call__", lambda self, x: honest(self, x).clamp(max=200))
    assert isinstance(make(random_network(0)), Float)
    assert "engine int8 is not exact here (layer 0 differs" in capsys.readouterr().err


def test_auto_takes_the_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the CPU plays it, and a GPU that is not there is passed over."""
    assert isinstance(make(random_network(0), device="cpu"), Int8 if VNNI else Float)
    real = Gpu.__init__
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Gpu, "__init__", lambda self, network, _: real(self, network, "cpu"))
    assert isinstance(make(random_network(0)), Gpu)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert capsys.readouterr().err == ""

    def fail(*_: object) -> None:
        raise RuntimeError("gone")

    monkeypatch.setattr(Gpu, "outputs", fail)
    assert not isinstance(make(random_network(0)), Gpu)
    assert "engine gpu is not exact here (it cannot run: gone)" in capsys.readouterr().err


def test_products_that_alone_could_leave_int32_are_refused() -> None:
    """Few codes bound a sum; the offset of 128 does not know of them."""
    weight = torch.full((1, 140_000), 127, dtype=torch.int8)
    layer = Layer("linear", weight, torch.zeros(1).int(), input=ActivationQParams(0, 0, 2))
    with pytest.raises(ValueError, match="could leave int32; use another engine"):
        Gpu(network_of(layer), "cpu")


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(5, 2, 1), (1, 1, 0), (3, 3, 2), (2, 1, 1)]
)
@pytest.mark.parametrize("zero_point", [0, 128])
def test_a_gpu_s_patches_are_those_of_any_convolution(
    kernel: int, stride: int, padding: int, zero_point: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (9, 3, kernel, kernel), generator=generator).to(torch.int8)
    bias, codes = torch.arange(9, dtype=torch.int32), ActivationQParams(0, zero_point)
    layer = Layer("conv2d", weight, bias, weight_exponent=-6, input=codes, output=codes,
                  kernel=kernel, stride=stride, padding=padding)  # fmt: skip
    pool = Layer("maxpool2d", kernel=3, stride=2)
    first = random_network(0).input
    network = replace(network_of(layer, pool), input=replace(first, codes=codes))
    step = Gpu(network, "cpu").steps
    x = random_pixels(1, size=11)
    u = x.permute(0, 2, 3, 1).bitwise_xor(128).view(torch.int8)
    expected = requantize_output(layer, accumulate(layer, x), Rounding.FLOOR)
    ours = step[0](u)
    assert torch.equal(ours.view(torch.uint8).bitwise_xor(128).permute(0, 3, 1, 2), expected)
    pooled = step[1](ours).view(torch.uint8).bitwise_xor(128).permute(0, 3, 1, 2)
    assert torch.equal(pooled, pool_or_flatten(pool, expected))


def test_auto_ends_at_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_inexact", lambda *_: "broken on purpose")
    assert isinstance(make(random_network(0)), Reference)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(
        ValueError, match="engine = 'tpu': must be auto, float, gpu, int8, reference"
    ):
        make(random_network(0), "tpu")


def test_of_equal_logits_the_first_class_wins() -> None:
    network = random_network(0)
    last = network.layers[5]
    tied = replace(last, weight=last.weight * 0, bias=torch.tensor([1, 7, 7, 7, 2]).int())
    network = replace(network, layers=(*network.layers[:5], tied))
    for name in ("reference", "float", "int8"):
        assert make(network, name).predict(random_pixels(0), batch_size=5).tolist() == [1] * 6


@given(networks)
def test_one_layer_on_a_gpu_s_products_equals_one_on_floats(network: IntegerNetwork) -> None:
    cpu = torch.device("cpu")
    codes = random_pixels(3).to(torch.int16) - network.input.codes.zero_point
    for layer in network.layers:
        step = FloatStep(layer, network.rounding, cpu)
        if layer.output is None:
            codes = step(codes.float()).to(torch.int16)
            continue
        expected = step(codes.float()).to(torch.int16)
        assert torch.equal(on_centered(layer, network.rounding, cpu)(codes), expected)
        codes = expected
