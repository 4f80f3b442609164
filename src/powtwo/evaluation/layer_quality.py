"""How well each weighted layer's integers stand for its floats: SQNR, clipping and histograms.

Histograms are in steps of the scale, x / 2^e: there the limits of the codes are quant_min − z and
quant_max − z whatever the exponent, so tensors whose channels have exponents of their own fit one
histogram, and layers compare at a glance.

Source: SQNR = 10·log10(Σ x² / Σ (x − x̂)²), Lin et al. 2016, https://arxiv.org/abs/1511.06393
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from powtwo.engine.base import Engine
from powtwo.integer.fixedpoint import by_channel, by_output, clipped, dequantize, scaled
from powtwo.integer.layer import Layer
from powtwo.network.folded import FoldedLayer, outputs

INSIDE = 32  # bins from half a step below the lowest code to half a step above the highest
BEYOND = 8  # bins of the same width on either side; the outermost hold all that lies farther out
HISTOGRAM_COLUMNS = ("layer", "tensor", "low", "high", "count", "code_low", "code_high")
MOST_DECIBELS = 200.0  # without any noise, as toy networks have; beyond what 32 bits can reach


@dataclass(frozen=True)
class LayerQuality:
    """A weighted layer's figures; None where the output is int32, which has no codes."""

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

    def row(self) -> tuple[object, ...]:
        """Return the figures in the order of COLUMNS."""
        return astuple(self)


COLUMNS = tuple(field.name for field in fields(LayerQuality))


class CodeHistogram:
    """Counts of a tensor's values, taken piece by piece; order and pieces do not matter."""

    def __init__(self, low: int, high: int) -> None:
        """Start with no counts; `low` and `high` are the limits of the codes, in steps."""
        self.low, self.high = low, high
        self.width = (high - low + 1) / INSIDE
        self.start = low - 0.5 - BEYOND * self.width
        self.counts = torch.zeros(INSIDE + 2 * BEYOND, dtype=torch.int64)

    def update(self, steps: Tensor) -> None:
        """Count values given in steps of the scale, float64 of any shape."""
        bins = ((steps.flatten() - self.start) / self.width).floor()
        bins = bins.clamp(0, len(self.counts) - 1).to(torch.int64)
        self.counts += torch.bincount(bins, minlength=len(self.counts))

    def rows(self) -> Iterator[tuple[float, float, int, int, int]]:
        """Yield a bin's edges in steps, its count, and the limits of the codes in steps."""
        for index, count in enumerate(self.counts.tolist()):
            low = self.start + index * self.width
            yield low, low + self.width, count, self.low, self.high


class LayerStats:
    """A weighted layer whose float and integer outputs are compared batch by batch."""

    def __init__(self, index: int, layer: Layer, folded: FoldedLayer) -> None:
        assert folded.weight is not None
        self.index, self.layer, self.weight = index, layer, folded.weight
        self.signal = self.noise = 0.0
        self.count = self.clipped = 0  # of the outputs
        exponents, grid = by_output(layer.weight_exponent, self.weight), layer.weight_format.grid
        self.clipped_weights = int(clipped(self.weight, exponents, grid)) / self.weight.numel()
        self.histograms = {"weight": CodeHistogram(grid.quant_min, grid.quant_max)}
        self.histograms["weight"].update(scaled(self.weight, exponents))
        if layer.output is not None:
            grid, z = layer.output.grid, layer.output.zero_point
            self.histograms["output"] = CodeHistogram(grid.quant_min - z, grid.quant_max - z)

    def update(self, exact: Tensor, codes: Tensor) -> None:
        """Compare a batch of float64 outputs (N, O, …) with what the integer layer gave."""
        self.signal += exact.square().sum().item()
        self.noise += (exact - values(self.layer, codes)).square().sum().item()
        if (output := self.layer.output) is not None:
            self.histograms["output"].update(scaled(exact, output.exponent))
            self.clipped += int(clipped(exact, output.exponent, output.grid))
            self.count += exact.numel()

    def quality(self) -> LayerQuality:
        """Sum up all batches.

        Raises:
            ValueError: where the float output was zero throughout, so that it has no SQNR.
        """
        layer, output = self.layer, self.layer.output
        exponents = torch.tensor(layer.weight_exponent)
        error = self.weight - layer.weight_values
        signal, noise = (x.square().sum().item() for x in (self.weight, error))
        return LayerQuality(
            self.index,
            layer.kind,
            _decibels(f"layer {self.index}: its float output", self.signal, self.noise),
            _decibels(f"layer {self.index}: its float weight", signal, noise),
            self.clipped / self.count if output else None,
            self.clipped_weights,
            layer.weight_format.bits,
            output.bits if output else None,
            int(exponents.min()),
            int(exponents.max()),
            output.exponent if output else None,
            int(layer.shift.min()) if output else None,
            int(layer.shift.max()) if output else None,
        )

    def histogram_rows(self) -> Iterator[tuple[object, ...]]:
        """Yield a row of HISTOGRAM_COLUMNS for each bin of each tensor."""
        for tensor, histogram in self.histograms.items():
            for row in histogram.rows():
                yield self.index, tensor, *row


def measure_layers(
    engine: Engine, layers: Sequence[FoldedLayer], images: Tensor, batch_size: int
) -> list[LayerStats]:
    """Compare float and integers over all `images`, uint8 (N, C, H, W), in each weighted layer."""
    network = engine.network
    stats = {
        index: LayerStats(index, layer, layers[index])
        for index, layer in enumerate(network.layers)
        if layer.has_weights
    }
    for pixels in torch.split(images, batch_size):
        exact = outputs(layers, network.input.normalization(pixels, torch.float64))
        for index, (x, codes) in enumerate(zip(exact, engine.outputs(pixels), strict=True)):
            if index in stats:
                stats[index].update(x, codes)
    return list(stats.values())


def values(layer: Layer, codes: Tensor) -> Tensor:
    """Return the float64 values that a weighted layer's output (N, O, …) stands for."""
    if layer.output is not None:
        return dequantize(codes, layer.output.exponent, layer.output.zero_point)
    return dequantize(codes, by_channel(layer.accumulator_exponent, codes.dim()), 0)


def _decibels(tensor: str, signal: float, noise: float) -> float:
    if signal == 0:
        raise ValueError(f"{tensor} is zero throughout; train it longer")
    return 10 * math.log10(signal / noise) if noise else MOST_DECIBELS
