"""Random integer networks, small and nasty: ties, saturation, every option of the contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st

from powtwo.dataset.normalization import Normalization
from powtwo.engine.base import Engine, Reference
from powtwo.integer import tiles
from powtwo.integer.fixedpoint import Grid, dequantize, quantize
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat, as_exponents
from powtwo.integer.network import Input, IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.network.folded import FoldedLayer

ROUNDINGS = tuple(Rounding)


def random_network(  # noqa: PLR0917
    seed: int,
    rounding: str = "floor",
    bits: int = 8,
    weight_bits: int = 8,
    zero_point: int | None = None,
    per_channel: bool = False,
    relu: bool = True,
    size: int = 8,
    logits: str = "int32",
    kind: str = "uniform",
) -> IntegerNetwork:
    """Make conv → pool → conv → flatten → linear → linear with weights that give many ties."""
    generator = torch.Generator().manual_seed(seed)
    fewest, most = {"uniform": (2, 8), "power_of_two": (2, 4), "power_of_two_nonzero": (3, 4)}[kind]
    weights = WeightFormat(min(max(weight_bits, fewest), most), kind)
    limit = Grid.of_weights(weights.width).quant_max
    middle = 2 ** (bits - 1) if zero_point is None else zero_point
    hidden = ActivationQParams(-5, middle, bits)
    codes = ActivationQParams(-7)

    def layer(kind: str, shape: tuple[int, ...], last: bool = False, **geometry: int) -> Layer:
        nonlocal codes
        weight = torch.randint(-limit, limit + 1, shape, generator=generator)
        weight[::2] = weight[::2].clamp(-1, 1) * min(limit, 4)  # multiples of 4: sums tie often
        if weights.kind != "uniform":
            weight = quantize(weight.double(), 0, weights.grid)
        bias = torch.randint(-3000, 3000, shape[:1], generator=generator) // 4 * 4
        channels = shape[:1] if per_channel and not last else ()
        shifts = torch.randint(3, 10, channels, generator=generator)
        read, codes = codes, hidden
        return Layer(
            kind,
            weight.to(torch.int8),
            bias.to(torch.int32),
            weight_exponent=as_exponents((hidden.exponent - read.exponent - shifts).tolist()),
            weight_format=weights,
            input=read,
            output=None if last and logits == "int32" else hidden,
            relu=relu and not last,
            **geometry,
        )

    half = size // 2
    layers = (
        layer("conv2d", (8, 3, 3, 3), kernel=3, padding=1),
        Layer("maxpool2d", kernel=2, stride=2),
        layer("conv2d", (6, 8, 3, 3), kernel=3, padding=1),
        Layer("flatten"),
        layer("linear", (12, 6 * half * half)),
        layer("linear", (5, 12), last=True),
    )
    return network_of(*layers, rounding=rounding, shape=(3, size, size), classes="abcde")


def network_of(
    *layers: Layer,
    rounding: str = "floor",
    shape: tuple[int, int, int] = (3, 8, 8),
    classes: str = "ab",
) -> IntegerNetwork:
    """Make a network of these layers that reads plain pixels."""
    pixels = Input(shape, ActivationQParams(-7), Normalization("dyadic"))
    return IntegerNetwork("random", Rounding(rounding), tuple(classes), pixels, layers)


def narrowed(network: IntegerNetwork, bits: int | None = None) -> IntegerNetwork:
    """Say of each layer the fewest bits its sums fit, or cut it into tiles of `bits` that fit."""
    return replace(network, layers=tuple(_narrowed(layer, bits) for layer in network.layers))


def _narrowed(layer: Layer, bits: int | None) -> Layer:
    if layer.weight is None:
        return layer
    if bits is None:
        least = max(8, int(layer.narrow_bound.max()).bit_length() + 1)
        return replace(layer, accumulator_bits=min(least, 32))
    ends = tiles.plan(layer.weight.numpy(), *layer.input_range, bits)
    if ends is None:
        return layer
    return replace(layer, accumulator_bits=bits, tile_ends=torch.from_numpy(ends))


def random_pixels(seed: int, count: int = 6, size: int = 8) -> torch.Tensor:
    """Make uint8 images (N, 3, H, W): noise, and a black and a white one that saturate."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    pixels[0], pixels[1] = 0, 255
    return pixels


def identical_floats(network: IntegerNetwork | None = None) -> tuple[Engine, list[FoldedLayer]]:
    """Return an integer network and the float network that it stands for, weight by weight."""
    network = network or random_network(4, "half_even", relu=False)
    return Reference(network), [_folded(layer) for layer in network.layers]


def _folded(layer: Layer) -> FoldedLayer:
    values: dict[str, Any] = {"relu": layer.relu}
    if layer.has_weights:
        bias = dequantize(layer.bias, layer.accumulator_exponent, 0)
        values |= {"weight": layer.weight_values, "bias": bias}
    if layer.maximum is not None:
        steps = layer.maximum - layer.output.zero_point
        values["maximum"] = steps * 2.0**layer.output.exponent
    names = ("kind", "stride", "padding", "kernel", "groups", "inputs")
    return FoldedLayer(**{name: getattr(layer, name) for name in names}, **values)


networks = st.builds(
    random_network,
    seed=st.integers(0, 2**16),
    rounding=st.sampled_from(ROUNDINGS),
    bits=st.integers(2, 8),
    weight_bits=st.integers(2, 8),
    zero_point=st.sampled_from([None, 0]),
    per_channel=st.booleans(),
    relu=st.booleans(),
    logits=st.sampled_from(["int32", "codes"]),
    kind=st.sampled_from(["uniform", "power_of_two", "power_of_two_nonzero"]),
)
