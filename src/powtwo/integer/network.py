"""The integer network: its input, its layers, and the reference that runs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from powtwo.core import graph
from powtwo.core.graph import IMAGE, Sources
from powtwo.dataset.normalization import Normalization
from powtwo.integer import file, fixedpoint
from powtwo.integer.geometry import Shape, output_shape
from powtwo.integer.layer import (
    ActivationQParams,
    Layer,
    accumulate,
    check,
    pool_or_flatten,
    requantize_output,
)
from powtwo.integer.rounding import Rounding


@dataclass(frozen=True)
class Input:
    """The input: pixels (C, H, W) of eight bits, and how they become codes."""

    shape: tuple[int, int, int]
    codes: ActivationQParams
    normalization: Normalization

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the uint8 codes of uint8 pixels (N, C, H, W); the pixels themselves if dyadic."""
        if self.normalization.kind == "dyadic" and self.codes == ActivationQParams(-7):
            return pixels
        values = self.normalization(pixels, torch.float64)
        return fixedpoint.quantize(values, self.codes.exponent, self.codes.grid).to(torch.uint8)

    def table(self) -> npt.NDArray[np.uint8] | None:
        """Return the code of each pixel value, uint8 (C, 256); None where that is the pixel."""
        pixels = torch.arange(256, dtype=torch.uint8).expand(1, self.shape[0], 1, 256)
        codes = self.encode(pixels)
        return None if torch.equal(codes, pixels) else codes[0, :, 0].numpy()

    def metadata(self) -> dict[str, Any]:
        """Describe the input for a file; `of_metadata` reads it."""
        described = {"shape": self.shape, **asdict(self.codes)}
        described["normalize"] = self.normalization.kind
        if self.normalization.mean is not None:
            described |= {"mean": self.normalization.mean, "std": self.normalization.std}
        return described

    @classmethod
    def of_metadata(cls, values: Mapping[str, Any]) -> Input:
        """Make the input that `metadata` described."""
        channels, height, width = values["shape"]
        codes = ActivationQParams(values["exponent"], values["zero_point"], values["bits"])
        normalization = Normalization.of_metadata({**values, "kind": values["normalize"]})
        return cls((channels, height, width), codes, normalization)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network of integers alone, from pixels to logits."""

    scheme: str
    rounding: Rounding
    classes: tuple[str, ...]
    input: Input
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounding", Rounding(self.rounding))  # a file has its name
        for index, layer in enumerate(self.layers):
            check(index, layer)
        _ = self.sources  # refuses layers that read none, or that none reads

    @cached_property
    def sources(self) -> list[Sources]:
        """Return the indices of what each layer reads; the image is -1."""
        return graph.sources(self.layers)

    def outputs(self, pixels: Tensor) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Run the reference, layer by layer.

        Args:
            pixels: uint8 (N, C, H, W).

        Yields:
            For each layer the int32 accumulators before ReLU (None for pooling and flattening) and
            the output: uint8 codes, or int32 accumulators after ReLU where the layer gives those.
        """
        yield from self.resume({IMAGE: self.input.encode(pixels)})

    def resume(self, values: dict[int, Tensor]) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Yield what `outputs` does, after the highest index of `values`, codes by layer."""
        sums: list[Tensor | None] = []

        def step(layer: Layer, *codes: Tensor) -> Tensor:
            if not layer.accumulates:
                sums.append(None)
                return pool_or_flatten(layer, *codes)
            accumulators = accumulate(layer, *codes)
            sums.append(accumulators)
            return requantize_output(layer, accumulators, self.rounding)

        steps = [partial(step, layer) for layer in self.layers]
        for output in graph.evaluate(self.sources, values, steps):
            yield sums.pop(), output

    def logits(self, pixels: Tensor) -> Tensor:
        """Return int32 logits, or uint8 codes where the scheme asks for them, (N, classes)."""
        return deque(self.outputs(pixels), maxlen=1).pop()[1]  # the others are let go

    def channels(self, index: int) -> int:
        """Return how many channels, or features, a layer gives, or the image (-1) has."""
        shapes: dict[int, Shape] = {IMAGE: self.input.shape}
        for each, sources in enumerate(self.sources[: index + 1]):
            layer = self.layers[each]
            weight = None if layer.weight is None else tuple(layer.weight.shape)
            inputs = [shapes[source] for source in sources]
            shapes[each] = output_shape(each, vars(layer), weight, *inputs)
        return shapes[index][0]

    def origin(self, index: int) -> int:
        """Return the layer whose codes a layer gives: itself, or before poolings and flattening.

        IMAGE where they are those of the image.
        """
        return graph.follow(self.sources, index, lambda i: not self.layers[i].accumulates)

    def codes(self, index: int) -> ActivationQParams | None:
        """Return how a layer's output is coded, or the image; None where it gives accumulators."""
        origin = self.origin(index)
        return self.input.codes if origin == IMAGE else self.layers[origin].output

    @property
    def last_sums(self) -> Layer:
        """The layer whose outputs the logits are; poolings and flattening may follow it."""
        return self.layers[self.origin(len(self.layers) - 1)]

    def accumulator_bound(self, index: int) -> Tensor:
        """Return a bound on |partial sums| of a layer that accumulates, in any order, int64 (O,).

        `Layer.bound` lets every input be any code. Codes that come out of a ReLU are not below the
        zero point, so that products of positive weights only add and those of negative ones only
        subtract: a sum is never further from 0 than one of the two. The bound is met where every
        code that may occur does.
        """
        ranges = [self._range(source) for source in self.sources[index]]
        return self.layers[index].bound_of_ranges(ranges)

    def _range(self, index: int) -> tuple[int, int]:
        """Return the least and the largest x − z that a layer, or the image, gives."""
        origin = self.origin(index)
        if origin == IMAGE:
            return self.input.codes.centered_range
        layer = self.layers[origin]
        assert layer.output is not None
        low, high = layer.output.centered_range
        if layer.maximum is not None:
            high = layer.maximum - layer.output.zero_point
        return 0 if layer.relu else low, high

    def save(self, path: Path | str) -> None:
        """Write the file of docs/integer-file.md."""
        network = {
            "scheme": self.scheme,
            "rounding": self.rounding,
            "classes": self.classes,
            "input": self.input.metadata(),
        }
        file.write(path, network, self.layers)

    @classmethod
    def load(cls, path: Path | str) -> IntegerNetwork:
        """Read the file of docs/integer-file.md; nothing is unpickled.

        Raises:
            ValueError: where the file is no integer network, of another format, or breaks a rule.
            FileNotFoundError: where there is no such file.
        """
        network, layers = file.read(path)
        pixels = Input.of_metadata(network.input.model_dump())
        return cls(network.scheme, network.rounding, tuple(network.classes), pixels, layers)
