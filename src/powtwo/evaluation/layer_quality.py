"""How well each computing layer's integers stand for its floats: weights and output.

Sources:
1. SQNR = 10·log10(Σ x² / Σ (x − x̂)²): Lin et al. 2016, https://arxiv.org/abs/1511.06393
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from powtwo.engine.base import Engine
from powtwo.evaluation.code_histogram import CodeHistogram
from powtwo.integer.fixedpoint import by_channel, by_output, clipped, dequantize, scaled
from powtwo.integer.layer import Layer
from powtwo.network.folded import FoldedLayer, outputs


@dataclass(frozen=True)
class LayerQuality:
    """A computing layer's figures; None where the output is int32, which has no codes."""

    layer: int  # index in the network
    kind: str
    sqnr_db: float  # of the output, with all noise of the layers before
    weight_sqnr_db: float
    clipped_activations: float | None  # fraction of float outputs beyond the codes
    clipped_weights: float  # fraction of float weights beyond the codes
    weight_bits: int
    output_bits: int | None
    weight_exponent_min: int  # of all output channels, as the next
    weight_exponent_max: int
    output_exponent: int | None
    shift_min: int | None  # of all output channels, as the next
    shift_max: int | None


COLUMNS = tuple(field.name for field in fields(LayerQuality))


class LayerStats:
    """A computing layer whose float and integer outputs are compared batch by batch."""

    def __init__(self, index: int, layer: Layer, folded: FoldedLayer) -> None:
        assert layer.weight is not None
        assert folded.weight is not None
        self.index, self.layer, self.folded = index, layer, folded
        self.signal = self.noise = 0.0
        self.seen = self.clipped = 0
        exponents, grid = by_output(layer.weight_exponent, folded.weight), layer.weight_format.grid
        self.clipped_weights = int(clipped(folded.weight, exponents, grid)) / folded.weight.numel()
        self.weights = CodeHistogram(grid.quant_min, grid.quant_max)
        self.weights.add(scaled(folded.weight, exponents))
        self.outputs: CodeHistogram | None = None
        if layer.output is not None:
            grid, z = layer.output.grid, layer.output.zero_point
            self.outputs = CodeHistogram(grid.quant_min - z, grid.quant_max - z)

    def compare(self, exact: Tensor, codes: Tensor) -> None:
        """Take a batch of float64 outputs (N, O, …) and what the integers made of them."""
        self.signal += exact.square().sum().item()
        self.noise += (exact - values(self.layer, codes)).square().sum().item()
        if self.layer.output is None or self.outputs is None:
            return
        output = self.layer.output
        self.outputs.add(scaled(exact, output.exponent))
        self.clipped += int(clipped(exact, output.exponent, output.grid))
        self.seen += exact.numel()

    def quality(self) -> LayerQuality:
        """Sum up what was seen.

        Raises:
            ValueError: where the float output was zero throughout, so that it has no SQNR.
        """
        layer, output = self.layer, self.layer.output
        exponents = torch.tensor(layer.weight_exponent)
        return LayerQuality(
            self.index,
            layer.kind,
            _decibels(f"layer {self.index}: its float output", self.signal, self.noise),
            self._weight_sqnr(),
            self.clipped / self.seen if output else None,
            self.clipped_weights,
            layer.weight_format.bits,
            output.bits if output else None,
            int(exponents.min()),
            int(exponents.max()),
            output.exponent if output else None,
            int(layer.shift.min()) if output else None,
            int(layer.shift.max()) if output else None,
        )

    def _weight_sqnr(self) -> float:
        assert self.folded.weight is not None
        exact = self.folded.weight
        error = exact - self.layer.weight_values
        what = f"layer {self.index}: its float weight"
        return _decibels(what, exact.square().sum().item(), error.square().sum().item())


def watch(
    engine: Engine, layers: Sequence[FoldedLayer], images: Tensor, batch_size: int
) -> list[LayerStats]:
    """Compare float and integers over all `images`, uint8 (N, C, H, W), in each computing layer."""
    network = engine.network
    watched = {
        index: LayerStats(index, layer, layers[index])
        for index, layer in enumerate(network.layers)
        if layer.has_weights
    }
    for start in range(0, len(images), batch_size):
        pixels = images[start : start + batch_size]
        exact = outputs(layers, network.input.normalization(pixels, torch.float64))
        for index, (x, codes) in enumerate(zip(exact, engine.outputs(pixels), strict=True)):
            if index in watched:
                watched[index].compare(x, codes)
    return list(watched.values())


def row(quality: LayerQuality) -> tuple[object, ...]:
    """Return the figures in the order of COLUMNS."""
    return astuple(quality)


def histogram_rows(watched: Sequence[LayerStats]) -> Iterator[tuple[object, ...]]:
    """Yield a row of `code_histogram.COLUMNS` for each bin of each tensor."""
    for item in watched:
        for tensor, histogram in (("weight", item.weights), ("output", item.outputs)):
            if histogram is not None:
                for values_of_bin in histogram.rows():
                    yield item.index, tensor, *values_of_bin


def values(layer: Layer, codes: Tensor) -> Tensor:
    """Return the float64 values that a computing layer's output (N, O, …) stands for."""
    if layer.output is not None:
        return dequantize(codes, layer.output.exponent, layer.output.zero_point)
    return dequantize(codes, by_channel(layer.accumulator_exponent, codes.dim()), 0)


def _decibels(what: str, signal: float, noise: float) -> float:
    if signal == 0:
        raise ValueError(f"{what} is zero throughout; train it longer")
    # No noise at all happens on toy networks alone; 200 dB is beyond what 32 bits can reach.
    return 10 * math.log10(signal / noise) if noise else 200.0
