"""Random integer networks that are no stacks: some ten layers, every kind, several readers."""

from __future__ import annotations

import random
from math import prod
from typing import Any

import torch
from hypothesis import strategies as st
from networks import ROUNDINGS, network_of

from powtwo.core.windows import average_bits, fits, four, pair
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat, as_exponents
from powtwo.integer.network import IntegerNetwork

CLASSES = "abcde"
MOST_CHANNELS = 12


class GraphBuilder:
    """Layers in order, each with its shape and its codes; -1 is the image."""

    def __init__(self, seed: int, bits: int, zero_point: int | None, size: int) -> None:
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.bits, self.zero_point = bits, zero_point
        self.layers: list[Layer] = []
        self.shapes: dict[int, tuple[int, ...]] = {-1: (3, size, size)}
        self.codes = {-1: ActivationQParams(-7)}
        self.unread = {-1}

    def append(self, layer: Layer, sources: tuple[int, ...], shape: tuple[int, ...]) -> int:
        index = len(self.layers)
        self.layers.append(layer)
        self.shapes[index], self.codes[index] = shape, layer.output or self.codes[sources[0]]
        self.unread = self.unread - set(sources) | {index}
        return index

    def output(self, exponent: int, relu: bool, last: bool = False) -> dict[str, Any]:
        """Draw how an output is coded, and maybe where ReLU6 cuts."""
        if last:
            return {"output": None, "relu": relu}
        middle = 2 ** (self.bits - 1) if self.zero_point is None else self.zero_point
        output = ActivationQParams(exponent, middle, self.bits)
        values: dict[str, Any] = {"output": output, "relu": relu}
        highest = output.grid.quant_max
        if relu and self.rng.random() < 0.3 and middle < highest:
            values["maximum"] = self.rng.randint(middle, highest - 1)
        return values

    def sums(self, source: int, kind: str, shape: tuple[int, ...], **more: Any) -> Layer:
        """Draw weights that give many ties, and shifts by channel or not."""
        weight = torch.randint(-127, 128, shape, generator=self.generator)
        weight[::2] = weight[::2].clamp(-1, 1) * 4
        bias = torch.randint(-3000, 3000, shape[:1], generator=self.generator) // 4 * 4
        last = more.pop("last", False)
        channels = shape[:1] if self.rng.random() < 0.4 and not last else ()
        shifts = torch.randint(3, 11, channels, generator=self.generator)
        exponent, read = self.rng.randint(-7, -3), self.codes[source]
        return Layer(
            kind, weight.to(torch.int8), bias.to(torch.int32),
            weight_exponent=as_exponents((exponent - read.exponent - shifts).tolist()),
            weight_format=WeightFormat(8), input=read, inputs=(source,),
            **self.output(exponent, not last and self.rng.random() < 0.6, last), **more,
        )  # fmt: skip

    def convolution(self, source: int, channels: int | None = None, plain: bool = False) -> int:
        inputs, *sides = self.shapes[source]
        window = {"kernel": (1, 1), "stride": (1, 1), "padding": (0,) * 4}
        window = window if plain else self.window(source)
        groups = 1 if plain else self.rng.choice([g for g in (1, 1, 2, inputs) if inputs % g == 0])
        wanted = channels or self.rng.randint(1, MOST_CHANNELS // groups or 1) * groups
        shape = (wanted, inputs // groups, *pair(window["kernel"]))
        layer = self.sums(source, "conv2d", shape, groups=groups, **window)
        return self.append(layer, (source,), (wanted, *slid(sides, window)))

    def window(self, source: int) -> dict[str, Any]:
        """Draw a kernel, a stride and a padding that fit."""
        _, *sides = self.shapes[source]
        kernel = tuple(self.rng.randint(1, min(3, side)) for side in sides)
        stride = tuple(self.rng.choice([1, 1, 2]) for _ in sides)
        padding = tuple(self.rng.randint(0, min(2, kernel[i % 2] - 1)) for i in range(4))
        if self.rng.random() < 0.5:  # in few numbers, where they can be said so
            padding = padding[:2]
        return {"kernel": kernel, "stride": stride, "padding": padding}

    def pool(self, source: int) -> int:
        channels, *sides = self.shapes[source]
        window = self.window(source)
        layer = Layer("maxpool2d", inputs=(source,), **window)
        return self.append(layer, (source,), (channels, *slid(sides, window)))

    def average(self, source: int, whole: bool = False) -> int:
        channels, *sides = self.shapes[source]
        window = self.window(source)
        if whole:
            window = {"kernel": tuple(sides), "stride": (1, 1), "padding": 0}
        exponent = self.codes[source].exponent - average_bits(window["kernel"])
        output = self.output(exponent + self.rng.randint(0, 5), self.rng.random() < 0.3)
        layer = Layer("avgpool2d", input=self.codes[source], inputs=(source,), **window, **output)
        return self.append(layer, (source,), (channels, *slid(sides, window)))

    def add(self, first: int, second: int) -> int:
        codes = self.codes[first], self.codes[second]
        exponent = min(each.exponent for each in codes) + self.rng.randint(0, 4)
        output = self.output(exponent, self.rng.random() < 0.5)
        layer = Layer("add", input=codes[0], second=codes[1], inputs=(first, second), **output)
        return self.append(layer, (first, second), self.shapes[first])

    def grow(self) -> None:
        """Append a layer of any kind, more often to one that nobody reads yet."""
        pool = list(self.unread) if self.rng.random() < 0.5 else list(self.shapes)
        source = self.rng.choice(pool)
        equal = [i for i in self.shapes if self.shapes[i] == self.shapes[source]]
        kind = self.rng.choice(["convolution", "convolution", "pool", "average", "add", "add"])
        if kind == "add":
            self.add(source, self.rng.choice(equal))
        else:
            getattr(self, kind)(source)

    def join(self) -> int:
        """Bring all that nobody reads together, and return where."""
        while len(self.unread) > 1:
            one, other = sorted(self.unread)[:2]
            if self.shapes[one] == self.shapes[other]:
                self.add(one, other)
            elif any(self.shapes[i][1:] != (1, 1) for i in (one, other)):
                self.average(max((one, other), key=lambda i: prod(self.shapes[i][1:])), whole=True)
            else:
                self.add(self.convolution(one, self.shapes[other][0], plain=True), other)
        return self.unread.pop()


def slid(sides: list[int], window: dict[str, Any]) -> tuple[int, ...]:
    top, left, bottom, right = four(window["padding"])
    each = zip(sides, pair(window["kernel"]), pair(window["stride"]), strict=True)
    (h, kh, sh), (w, kw, sw) = each
    return fits(h, kh, sh, top, bottom), fits(w, kw, sw, left, right)


def random_graph(  # noqa: PLR0917
    seed: int,
    rounding: str = "floor",
    bits: int = 8,
    zero_point: int | None = None,
    layers: int = 7,
    size: int = 7,
) -> IntegerNetwork:
    """Make a network of `layers` random layers, and those that join them into logits."""
    builder = GraphBuilder(seed, bits, zero_point, size)
    for _ in range(layers):
        builder.grow()
    source = builder.join()
    flat = Layer("flatten", inputs=(source,))
    features = prod(builder.shapes[source])
    source = builder.append(flat, (source,), (features,))
    last = builder.sums(source, "linear", (len(CLASSES), features), last=True)
    return network_of(
        *builder.layers, last, rounding=rounding, shape=(3, size, size), classes=CLASSES
    )


graphs = st.builds(
    random_graph,
    seed=st.integers(0, 2**16),
    rounding=st.sampled_from(ROUNDINGS),
    bits=st.integers(2, 8),
    zero_point=st.sampled_from([None, 0]),
    layers=st.integers(1, 9),
)
