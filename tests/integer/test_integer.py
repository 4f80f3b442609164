"""The reference arithmetic against numpy and exact fractions; the file against the contract."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import ROUNDINGS, networks, random_network, random_pixels
from safetensors import safe_open

from powtwo.dataset.normalization import Normalization
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer, accumulate
from powtwo.integer.network import Input, IntegerNetwork


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
def test_the_reach_is_the_largest_partial_sum_in_any_order(
    relu: bool, zero_point: int, ends: tuple[int, int], numbers: list[int]
) -> None:
    codes = ActivationQParams(-3, zero_point, 8)
    zeroth = Layer(
        "linear", torch.ones(3, 3, dtype=torch.int8), torch.zeros(3, dtype=torch.int32),
        input=ActivationQParams(-7), output=codes, relu=not relu,
    )  # fmt: skip
    first = replace(zeroth, input=codes, relu=relu)
    weight = torch.tensor(numbers[:6]).view(2, 3).to(torch.int8)
    bias = torch.tensor(numbers[6:], dtype=torch.int32) * 300
    second = Layer("linear", weight, bias, input=codes, output=ActivationQParams(-1), relu=True)
    layers = (Layer("flatten"), zeroth, first, Layer("flatten"), second)
    given_ = Input((3, 1, 1), ActivationQParams(-7), Normalization("dyadic"))
    network = IntegerNetwork("x", "half_up", ("a", "b"), given_, layers)
    for row, b, found in zip(
        weight.tolist(), bias.tolist(), network.accumulator_bound(4), strict=True
    ):
        inputs = itertools.product(ends, repeat=3)
        terms = ([w * x for w, x in zip(row, some, strict=True)] for some in inputs)
        most = max(abs(each) for products in terms for each in subset_sums([*products, b]))
        assert int(found) == most + 2  # half a unit of a shift by 2
    assert bool((network.accumulator_bound(4) <= second.bound).all())
    assert (
        network.accumulator_bound(1).tolist() == [3 * 128 + 8] * 3
    )  # pixels go both ways; a shift by 4


def fake_quantized(network: IntegerNetwork, pixels: torch.Tensor) -> torch.Tensor:
    """Run the same network on float64 values that are snapped to their grids after each layer."""
    x = network.input.normalization(pixels, torch.float64)
    for layer in network.layers:
        if layer.kind == "maxpool2d":
            x = torch.nn.functional.max_pool2d(x, layer.kernel, layer.stride)
        elif layer.kind == "flatten":
            x = x.flatten(1)
        else:
            weight = fixedpoint.dequantize(layer.weight, _column(layer, layer.weight.dim()), 0)
            bias = fixedpoint.dequantize(layer.bias, layer.accumulator_exponent, 0)
            if layer.kind == "conv2d":
                x = torch.nn.functional.conv2d(x, weight, bias, padding=layer.padding)
            else:
                x = torch.nn.functional.linear(x, weight, bias)
            x = x.relu() if layer.relu else x
            if layer.output:
                codes = fixedpoint.quantize(x, layer.output.exponent, layer.output.grid)
                out = layer.output
                x = fixedpoint.dequantize(codes, out.exponent, out.zero_point)
    return x


def _column(layer: Layer, dimensions: int) -> torch.Tensor:
    exponent = torch.tensor(layer.weight_exponent)
    return exponent.view(-1, *[1] * (dimensions - 1)) if exponent.dim() else exponent


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


def test_relu_pooling_and_rounding_commute() -> None:
    for rounding in ROUNDINGS:
        values = torch.randint(-5000, 5000, (2, 3, 8, 8), dtype=torch.int32)

        def shift(x: torch.Tensor, rounding: str = rounding) -> torch.Tensor:
            return fixedpoint.shift(x, 5, rounding)

        pool = torch.nn.functional.max_pool2d
        assert torch.equal(shift(values.clamp(min=0)), shift(values).clamp(min=0))
        assert torch.equal(pool(shift(values), 2), shift(pool(values, 2)))


def test_a_padded_position_holds_the_zero_point() -> None:
    layer = random_network(0).layers[0]
    zeros = torch.full((1, 3, 8, 8), layer.input.zero_point, dtype=torch.uint8)
    assert torch.equal(accumulate(layer, zeros), layer.bias.view(1, -1, 1, 1).expand(1, -1, 8, 8))


def test_dyadic_input_is_the_raw_byte() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    given = Input((3, 16, 16), ActivationQParams(-7), Normalization("dyadic"))
    assert given.encode(pixels) is pixels
    values = given.normalization(pixels, torch.float64)
    assert torch.equal(fixedpoint.quantize(values, -7, given.codes.grid), pixels.to(torch.int64))


def test_standard_input_is_the_nearest_code() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    normalization = Normalization("standard", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    codes = Input((3, 16, 16), ActivationQParams(-5), normalization).encode(pixels)
    for c, (m, s) in enumerate(zip(normalization.mean, normalization.std, strict=True)):
        expected = [min(max(round(32 * (p / 255 - m) / s) + 128, 0), 255) for p in range(256)]
        assert codes[0, c].flatten().tolist() == expected


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_no_input_passes_the_bound(network: IntegerNetwork) -> None:
    for layer, (accumulators, _) in zip(
        network.layers, network.outputs(random_pixels(4)), strict=True
    ):
        if layer.has_weights:
            worst = accumulators.to(torch.int64).abs().transpose(0, 1).flatten(1).amax(1)
            assert (worst <= layer.bound).all()


def test_the_bound_is_reached() -> None:
    layer = replace(random_network(5).layers[4], output=None)
    low = (layer.weight > 0).to(torch.uint8) * 0 + (layer.weight <= 0) * 255
    # The input that pulls every product of channel 0 down, with −128 against each weight above 0.
    row = low[:1].to(torch.uint8)
    weights = layer.weight[0].to(torch.int64)
    expected = layer.bias[0] - 128 * weights.clamp(min=0).sum() + 127 * weights.clamp(max=0).sum()
    assert accumulate(layer, row)[0, 0] == expected
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


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_a_saved_network_is_the_same_network(network: IntegerNetwork) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.safetensors", Path(folder) / "b.safetensors"
        network.save(first)
        loaded = IntegerNetwork.load(first)
        loaded.save(second)
        assert first.read_bytes() == second.read_bytes()
    pixels = random_pixels(5)
    assert torch.equal(loaded.logits(pixels), network.logits(pixels))
    assert (loaded.classes, loaded.scheme) == (network.classes, network.scheme)


def test_the_file_says_what_the_contract_says(tmp_path: Path) -> None:
    network = random_network(1, per_channel=True)
    network.save(tmp_path / "n.safetensors")
    with safe_open(tmp_path / "n.safetensors", framework="numpy") as file:
        about = json.loads(file.metadata()["powtwo"])
        names = set(file.keys())
        dtypes = {n: file.get_tensor(n).dtype.name for n in names}
    assert set(about) == {"format", "scheme", "rounding", "classes", "input", "layers"}
    assert about["format"] == 1
    assert about["input"] == {
        "shape": [3, 8, 8], "exponent": -7, "zero_point": 128, "bits": 8, "normalize": "dyadic",
    }  # fmt: skip
    assert [layer["kind"] for layer in about["layers"]] == [
        "conv2d", "maxpool2d", "conv2d", "flatten", "linear", "linear",
    ]  # fmt: skip
    assert set(about["layers"][0]) == {
        "kind", "relu", "stride", "padding", "kernel", "weight_bits", "weight_exponent",
        "input_exponent", "input_zero_point", "input_bits", "output_exponent",
        "output_zero_point", "output_bits", "shift", "output",
    }  # fmt: skip
    assert about["layers"][-1]["output"] == "int32"
    assert len(about["layers"][0]["weight_exponent"]) == 8
    assert dtypes["layers.0.weight"] == "int8"
    assert dtypes["layers.0.bias"] == "int32"
    assert dtypes["layers.0.shift"] == "int32"
    assert "layers.5.shift" not in names


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "n.safetensors"
    random_network(1).save(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["powtwo"])
    tensors = load_file(path)
    about["layers"][0]["shift"] += 1
    save_file(tensors, path, metadata={"powtwo": json.dumps(about)})
    with pytest.raises(ValueError, match="layer 0: shift = .*the file is damaged"):
        IntegerNetwork.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="format = None: must be 1"):
        IntegerNetwork.load(path)
