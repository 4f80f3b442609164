"""Networks that are no stacks: additions, averages, groups, any window, several readers."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import edited
from graphs import graphs, random_graph
from hypothesis import given, settings
from networks import identical_floats, network_of, random_network, random_pixels
from refused_network import refused

from powtwo.core.windows import four, pair
from powtwo.integer import fixedpoint, shapes
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork

SIZE = 7
CODES = ActivationQParams(-5)


def numpy_accumulators(layer: Layer, codes: list[np.ndarray]) -> np.ndarray:
    """Sum in int64, group by group, over windows of codes padded with the zero point."""
    reads = zip(codes, layer.reads, strict=True)
    centered = [x.astype(np.int64) - read.zero_point for x, read in reads]
    if layer.kind == "add":
        exponents = [read.exponent for read in layer.reads]
        pairs = zip(centered, exponents, strict=True)
        return sum(x * 2 ** (e - min(exponents)) for x, e in pairs)
    (x,) = centered
    weight = None if layer.weight is None else layer.weight.numpy().astype(np.int64)
    if layer.kind == "linear":
        return np.einsum("ni,oi->no", x, weight) + layer.bias.numpy()
    top, left, bottom, right = four(layer.padding)
    (high, wide), (down, across) = pair(layer.kernel), pair(layer.stride)
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    x = np.lib.stride_tricks.sliding_window_view(x, (high, wide), axis=(2, 3))
    x = x[:, :, ::down, ::across]
    if layer.kind == "avgpool2d":
        return x.sum((4, 5))
    inputs, outputs = np.split(x, layer.groups, 1), np.split(weight, layer.groups)
    parts = [np.einsum("nchwij,ocij->nohw", *each) for each in zip(inputs, outputs, strict=True)]
    return np.concatenate(parts, 1) + layer.bias.numpy()[:, None, None]


@settings(max_examples=60)
@given(network=graphs)
def test_reference_equals_sums_in_numpy(network: IntegerNetwork) -> None:
    pixels = random_pixels(1, size=SIZE)
    values = {-1: network.input.encode(pixels).numpy()}
    for index, (accumulators, output) in enumerate(network.outputs(pixels)):
        layer, codes = network.layers[index], [values[i] for i in network.sources[index]]
        if accumulators is not None:
            assert accumulators.dtype == torch.int32
            assert np.array_equal(accumulators.numpy(), numpy_accumulators(layer, codes))
            if layer.output is not None:
                assert output.max() <= layer.largest_code
                assert output.min() >= (layer.output.zero_point if layer.relu else 0)
        values[index] = output.numpy()


@settings(max_examples=60)
@given(network=graphs)
def test_half_even_equals_the_fake_quantized_network(network: IntegerNetwork) -> None:
    network, pixels = replace(network, rounding="half_even"), random_pixels(2, size=SIZE)
    values = {-1: network.input.normalization(pixels, torch.float64)}
    folded = identical_floats(network)[1]
    for index, (_, output) in enumerate(network.outputs(pixels)):
        x = folded[index](*(values[i] for i in network.sources[index]))
        codes = network.codes(index)
        if codes is None:
            e, z = network.layers[index].accumulator_exponent, 0
        else:
            e, z = codes.exponent, codes.zero_point
            x = fixedpoint.dequantize(fixedpoint.quantize(x, e, codes.grid), e, z)
        assert torch.equal(x, fixedpoint.dequantize(output, e, z)), index
        values[index] = x


@settings(max_examples=40)
@given(network=graphs)
def test_a_saved_network_is_the_same_network(
    tmp_path_factory: pytest.TempPathFactory, network: IntegerNetwork
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    network.save(folder / "a")
    loaded = IntegerNetwork.load(folder / "a")
    loaded.save(folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    pixels = random_pixels(5, size=SIZE)
    pairs = zip(loaded.outputs(pixels), network.outputs(pixels), strict=True)
    assert all(torch.equal(ours[1], right[1]) for ours, right in pairs)


@settings(max_examples=40)
@given(network=graphs)
def test_no_input_passes_the_bound(network: IntegerNetwork) -> None:
    for index, (accumulators, _) in enumerate(network.outputs(random_pixels(4, size=SIZE))):
        if accumulators is not None:
            worst = accumulators.long().abs().transpose(0, 1).flatten(1).amax(1)
            assert (worst <= network.accumulator_bound(index)).all()
            assert (network.accumulator_bound(index) <= network.layers[index].bound).all()


def added(first: ActivationQParams, second: ActivationQParams, **more: Any) -> Layer:
    return Layer("add", input=first, second=second, inputs=(0, 0), **more)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("zero_point", "maximum"), [(128, None), (0, None), (128, 200)])
def test_the_bound_of_a_sum_is_met_by_the_codes_that_may_occur(
    relu: bool, zero_point: int, maximum: int | None
) -> None:
    codes = ActivationQParams(-3, zero_point)
    weight, bias = torch.ones(1, 1, dtype=torch.int8), torch.zeros(1, dtype=torch.int32)
    first = Layer("linear", weight, bias, input=ActivationQParams(-7), output=codes,
                  relu=relu or maximum is not None, maximum=maximum)  # fmt: skip
    second = replace(first, inputs=(0,), output=ActivationQParams(-1, zero_point))
    last = Layer("add", input=codes, second=second.output, inputs=(1, 2), output=codes)
    network = network_of(Layer("flatten"), first, second, last, shape=(1, 1, 1), classes="a")
    low = zero_point if first.relu else 0
    ends = low - zero_point, (255 if maximum is None else maximum) - zero_point
    sums = [a + 4 * b for a, b in itertools.product(ends, repeat=2)]
    assert int(network.accumulator_bound(3)) == max(map(abs, sums))  # a shift by 0: no half
    assert last.accumulator_exponent == -3
    assert network.codes(3) == codes


@pytest.mark.parametrize(("kernel", "octaves"), [(1, 0), (2, 2), ((1, 2), 1), (3, 4), ((7, 7), 6)])
def test_an_average_is_a_sum_and_a_shift(kernel: Any, octaves: int) -> None:
    layer = Layer("avgpool2d", kernel=kernel, stride=kernel, input=CODES, output=CODES)
    high, wide = pair(kernel)
    assert (int(layer.accumulator_exponent), int(layer.shift)) == (-5 - octaves, octaves)
    assert int(layer.bound) == 128 * high * wide + (1 << octaves) // 2
    ones = torch.full((1, 2, high, wide), 129, dtype=torch.uint8)
    network = network_of(layer, Layer("flatten"), shape=(2, high, wide), rounding="half_up")
    codes = 128 + (high * wide + (1 << octaves) // 2) // (1 << octaves)  # k/2^m, halves up
    network = replace(network, input=replace(network.input, codes=CODES))
    object.__setattr__(network.input, "encode", lambda pixels: pixels)
    assert network.logits(ones).tolist() == [[codes] * 2]


def test_a_padded_position_of_a_max_pooling_is_never_the_largest() -> None:
    pool = Layer("maxpool2d", kernel=(2, 3), stride=2, padding=(1, 2, 0, 1))
    network = network_of(pool, Layer("flatten"), shape=(1, 3, 3), classes="abcd")
    pixels = torch.tensor([[[[3, 1, 2], [5, 4, 6], [9, 7, 8]]]], dtype=torch.uint8)
    assert network.logits(pixels).tolist() == [[3, 3, 9, 9]]


def test_exponents_too_far_apart_are_refused() -> None:
    layer = added(ActivationQParams(20), ActivationQParams(-7), output=ActivationQParams(0))
    with pytest.raises(ValueError, match="layer 1: accumulators can reach .* below 2\\^31"):
        network_of(Layer("flatten"), layer, shape=(2, 1, 1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((0, 2), r"layer 2: inputs = \[0, 2\]: must be earlier layers, -1 \(the image\) to 1"),
        ((0, -2), r"layer 2: inputs = \[0, -2\]: must be earlier layers"),
        ((0,), r"layer 2: inputs = \[0\]: must be 2, as kind is add"),
        (None, r"layer 2: inputs = None: must be 2, as kind is add"),
        ((0, 0), r"layer 1: output: read by no layer; leave the layer out"),
    ],
)
def test_a_layer_reads_earlier_ones_and_is_read(inputs: Any, message: str) -> None:
    flat = Layer("flatten")
    layer = replace(
        added(ActivationQParams(-7), ActivationQParams(-7), output=CODES), inputs=inputs
    )
    with pytest.raises(ValueError, match=message):
        network_of(flat, flat, layer, shape=(2, 1, 1))


def test_shapes_equal_those_of_a_network_that_ran(tmp_path: Path) -> None:
    for seed in range(20):
        network = random_graph(seed, layers=9)
        network.save(tmp_path / "n")
        layers = {layer.index: layer for layer in shapes.read(tmp_path / "n")}
        outputs = [output for _, output in network.outputs(random_pixels(0, size=SIZE))]
        assert list(layers) == [i for i, layer in enumerate(network.layers) if layer.accumulates]
        for index, layer in layers.items():
            source = network.sources[index][0]
            assert layer.output_shape == tuple(outputs[index].shape[1:])
            if source >= 0:
                assert layer.input_shape == tuple(outputs[source].shape[1:])
            if layer.has_weights:
                assert layer.fan_in == network.layers[index].weight[0].numel()
            else:
                assert layer.fan_in == {"add": 2}.get(layer.kind, network.layers[index].gains[0])
                assert (layer.weights, layer.biases, layer.macs) == (0, 0, 0)


def test_what_several_layers_read_is_written_before_any_pooling(tmp_path: Path) -> None:
    first, *rest = random_network(0, relu=False).layers
    image = (3, 8, 8)
    # The layer 0 is read by the pooling of layer 1, and where it says so by layer 3 too.
    network_of(first, *rest, shape=image, classes="abcde").save(tmp_path / "n")
    assert shapes.read(tmp_path / "n")[0].stored == (8, 4, 4)
    pool = Layer("maxpool2d", kernel=2, stride=2, inputs=(0,))
    pooled = added(first.output, first.output, output=first.output)
    graph = (first, rest[0], pool, replace(pooled, inputs=(1, 2)), *rest[1:])
    network_of(*graph, shape=image, classes="abcde").save(tmp_path / "n")
    assert shapes.read(tmp_path / "n")[0].stored is None


# Of the file of `small`: one thing is wrong with it.
def small() -> IntegerNetwork:
    """conv2d (grouped) → two readers: an average and a pooling → add → flatten → linear."""
    ones = torch.ones(6, 1, 3, 2, dtype=torch.int8)
    zeros = torch.zeros(6, dtype=torch.int32)
    conv = Layer("conv2d", ones, zeros, weight_exponent=-3, input=ActivationQParams(-7),
                 output=CODES, relu=True, maximum=250, groups=3, kernel=(3, 2),
                 padding=(1, 0, 1, 1))  # fmt: skip
    average = Layer("avgpool2d", kernel=2, stride=2, input=CODES, output=ActivationQParams(-6))
    pool = Layer("maxpool2d", kernel=(3, 2), stride=2, padding=(1, 0, 0, 0), inputs=(0,))
    both = Layer("add", input=average.output, second=CODES, inputs=(1, 2), output=CODES)
    last = Layer("linear", torch.ones(5, 96, dtype=torch.int8), zeros[:5], input=CODES)
    return network_of(
        conv, average, pool, both, Layer("flatten"), last, shape=(3, 8, 8), classes="abcde"
    )


def layer(index: int, **changes: Any) -> Any:
    return lambda values: values["layers"][index].update(changes)


EDITS = {
    "inputs later": (layer(2, inputs=[3]), "layer 2: inputs = [3]: must be earlier layers"),
    "inputs below": (layer(2, inputs=[-2]), "layer 2: inputs 0 = -2: must be greater"),
    "inputs none": (layer(2, inputs=[]), "layer 2: inputs = []: list should have at least 1"),
    "inputs two": (layer(2, inputs=[0, 1]), "layer 2: inputs = [0, 1]: must be 1, as kind is max"),
    "inputs one": (layer(3, inputs=[1]), "layer 3: inputs = [1]: must be 2, as kind is add"),
    "inputs gone": (layer(3, inputs=None), "layer 3: inputs = None: must be 2, as kind is add"),
    "inputs true": (layer(3, inputs=[True, 2]), "layer 3: inputs 0 = True: must be a valid int"),
    "unread": (layer(3, inputs=[2, 2]), "layer 1: output: read by no layer"),
    "shapes": (
        layer(1, kernel=1, stride=1, shift=0, output_exponent=-5),
        "layer 3: input_exponent = [-6, -5]: must be [-5, -5], which is what the layers before",
    ),
    "sides": (layer(2, stride=1), "layer 3: inputs of (6, 4, 4) and (6, 7, 7): an addition needs"),
    "one exponent": (layer(3, input_exponent=-5), "layer 3: input_exponent = -5: must be a valid"),
    "exponents": (
        layer(3, input_exponent=[-5, -5]),
        "layer 3: input_exponent = [-5, -5]: must be [-6, -5], which is what the layers before",
    ),
    "zero points": (
        layer(3, input_zero_point=[128, 0]),
        "layer 3: input_zero_point = [128, 0]: must be [128, 128], which is what",
    ),
    "shift of add": (layer(3, shift=0), "layer 3: shift = 0: its exponents give 1, output less"),
    "shift list": (layer(3, shift=[1]), "layer 3: shift = [1]: its exponents give 1"),
    "shift of average": (layer(1, shift=2), "layer 1: shift = 2: its exponents give 1, output"),
    "weight of add": (layer(3, weight_bits=8), "layer 3: weight_bits = 8: unknown key"),
    "groups 2": (layer(0, groups=2), "layer 0: weight (6, 1, 3, 2) in 2 groups does not fit an"),
    "groups 4": (layer(0, groups=4), "layer 0: groups = 4: must divide the 6 output channels"),
    "groups 0": (layer(0, groups=0), "layer 0: groups = 0: must be greater than or equal to 1"),
    "maximum high": (layer(0, maximum=255), "layer 0: maximum = 255: must be 128, its output_ze"),
    "maximum low": (layer(0, maximum=127), "layer 0: maximum = 127: must be 128, its output_zero"),
    "maximum alone": (layer(0, relu=False), "layer 0: maximum = 250: must be absent, as relu is"),
    "maximum of int32": (
        layer(5, maximum=3, relu=True),
        "layer 5: maximum = 3: must be absent, as output is int32",
    ),
    "kernel": (layer(0, kernel=[2, 3]), "layer 0: kernel = [2, 3]: must be (3, 2), the sides of"),
    "kernel of one": (layer(0, kernel=[3]), "layer 0: kernel = [3]: list should have at least 2"),
    "padding of three": (
        layer(0, padding=[1, 1, 1]),
        "layer 0: padding = [1, 1, 1]: must be a number, or a list of two or four",
    ),
    "padding": (layer(0, padding=[1, 0, 1, 2]), "layer 0: padding = [1, 0, 1, 2]: must be below"),
    "padding of pool": (layer(2, padding=[0, 2]), "layer 2: padding = [0, 2]: must be below the"),
    "padding of average": (layer(1, padding=2), "layer 1: padding = 2: must be below the kernel's"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    edit, reason = EDITS[name]
    path = tmp_path / "network"
    small().save(path)
    assert IntegerNetwork.load(path).layers[0].groups == 3
    path.write_bytes(edited(path.read_bytes(), edit))
    refused(path, reason)
