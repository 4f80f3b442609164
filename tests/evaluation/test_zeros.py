"""Products with a zero operand, against every product of small networks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from networks import identical_floats, networks, random_network, random_pixels
from torch import Tensor

from powtwo.engine import make
from powtwo.evaluation.integer_zeros import count_integer_zeros
from powtwo.evaluation.zeros import AnyLayer, Zeros, count_zeros, float_zeros
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import outputs


def products(layer: AnyLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight and the input of each product, (N, O, K, positions) both."""
    if layer.kind == "linear":
        columns = x.double()[:, :, None]
    else:
        columns = F.unfold(
            x.double(), layer.weight.shape[2:], padding=layer.padding, stride=layer.stride
        )
    weight = layer.weight.double().flatten(1)[None, :, :, None]
    return torch.broadcast_tensors(weight, columns[:, None])


def every_product(index: int, layer: AnyLayer, x: Tensor) -> Zeros:
    weight, inputs = products(layer, x)
    zeros = [layer.weight == 0, inputs == 0, weight * inputs == 0]
    weights, by_input, by_either = (int(zero.sum()) for zero in zeros)
    return Zeros(
        index, layer.kind, len(x), layer.weight.numel(), weights, weight.numel(), by_input,
        by_either, *(int(zero.sum()) / zero.numel() for zero in zeros),
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_zeros_of_integers_are_those_of_every_product(network: IntegerNetwork) -> None:
    pixels = random_pixels(3)
    codes = [network.input.encode(pixels), *(output for _, output in network.outputs(pixels))]
    expected = [
        every_product(index, layer, codes[index].int() - layer.input.zero_point)
        for index, layer in enumerate(network.layers)
        if layer.has_weights
    ]
    engine = make(network, "reference")
    assert count_integer_zeros(engine, pixels, 3) == expected
    assert count_integer_zeros(engine, pixels, 2) == expected  # batches change nothing


def test_zeros_of_floats_are_those_of_every_product() -> None:
    network = random_network(1)
    normalization, (_, layers) = network.input.normalization, identical_floats(network)
    pixels = random_pixels(3)
    pixels[0, :, :2] = 128  # 0.0 of the normalized image
    x = normalization(pixels, torch.float64)
    inputs = [x, *outputs(layers, x)]
    expected = [
        every_product(index, layer, inputs[index])
        for index, layer in enumerate(layers)
        if layer.weight is not None
    ]
    assert float_zeros(layers, normalization, pixels, 2) == expected
    assert 0 < expected[0].zero_inputs < expected[0].products
    assert sum(row.zero_products for row in expected[1:]) > 0  # of ReLU


def test_padding_is_a_zero_input() -> None:
    """Of a 3 × 3 kernel, 4 taps meet a 2 × 2 image of ones, at each of 4 positions."""
    weight = torch.tensor([[[[0, 0, 0], [1, 1, 1], [0, 0, 0]]]], dtype=torch.int8)
    layer = Layer("conv2d", weight, torch.zeros(1, dtype=torch.int32), padding=1)
    (row,) = count_zeros([layer], [[torch.ones(1, 1, 2, 2)]], 1)
    assert (row.weights, row.zero_weights) == (9, 6)
    assert (row.products, row.zero_inputs) == (36, 36 - 16)
    assert row.zero_products == 36 - 8  # of the middle row, 2 taps meet the image
    whole = Layer("conv2d", weight, torch.zeros(1, dtype=torch.int32))
    (row,) = count_zeros([whole], [[torch.ones(1, 1, 3, 3)]], 1)
    assert (row.products, row.zero_inputs, row.zero_products) == (9, 0, 6)


def test_groups_meet_their_own_inputs() -> None:
    """A depthwise kernel on two channels, of which the second is 0 everywhere."""
    weight = torch.ones(2, 1, 1, 1, dtype=torch.int8)
    layer = Layer("conv2d", weight, torch.zeros(2, dtype=torch.int32))
    x = torch.stack([torch.ones(2, 2), torch.zeros(2, 2)])[None]  # (1, 2, 2, 2)
    (row,) = count_zeros([layer], [[x]], 1)
    assert (row.products, row.zero_inputs, row.zero_products) == (8, 4, 4)
    (row,) = count_zeros([replace(layer, weight=weight.clone().fill_(0))], [[x]], 1)
    assert (row.zero_weights, row.zero_inputs, row.zero_products) == (2, 4, 8)
