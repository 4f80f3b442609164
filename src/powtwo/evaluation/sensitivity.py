"""Which layer costs the accuracy: each quantized alone, and each alone left in float.

To quantize a layer is to give it the integer network's weights and bias, and its output the codes
of the integer network, by the same rounding. Quantized alone, it reads what the float layers before
it give, and float layers read its output. Left in float alone, it reads the codes of the integer
layers before it; its output stays float until layers that add up, which are integer again but for
their inputs.

Both are counted the same on every machine. A layer that reads floats runs in float64, where a value
that rounding could tip across a code is too rare to be met; exact inputs give exact sums. Integers
run on the engine, and float layers as in `comparison.classify`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from powtwo.core import graph
from powtwo.core.graph import IMAGE
from powtwo.engine.base import Engine
from powtwo.evaluation.comparison import Accuracy, classify
from powtwo.evaluation.layer_quality import values
from powtwo.integer.fixedpoint import by_channel, dequantize, scaled
from powtwo.integer.layer import Layer, pool_or_flatten
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding
from powtwo.network.folded import FoldedLayer, outputs

COLUMNS = ("accuracy_quantized_alone", "accuracy_float_alone")


@dataclass
class LayerAlone:
    """Correct images where one layer is treated unlike all the others."""

    quantized: int = 0  # this layer in integers, the others in float
    in_float: int = 0  # this layer in float, the others in integers


@dataclass(frozen=True)
class Sensitivity:
    """How accuracy on a few images depends on each weighted layer."""

    images: int
    exact: int  # images that the float network classifies correctly
    integer: int  # images that the integer network classifies correctly
    alone: dict[int, LayerAlone]  # by index of the layer

    def accuracy(self) -> Accuracy:
        """Return what the layers' accuracies are to be compared with; no accuracy of no images."""
        if not self.images:
            return Accuracy("sensitivity", 0, None, None)
        exact, integer = self.exact / self.images, self.integer / self.images
        return Accuracy("sensitivity", self.images, exact, integer)

    def row(self, layer: int) -> tuple[float | None, float | None]:
        """Return a layer's accuracies in the order of COLUMNS."""
        if not self.images:
            return None, None
        alone = self.alone[layer]
        return alone.quantized / self.images, alone.in_float / self.images


def measure_sensitivity(
    engine: Engine,
    layers: Sequence[FoldedLayer],
    images: Tensor,
    labels: Tensor,
    batch_size: int,
) -> Sensitivity:
    """Measure each weighted layer; the batch size changes nothing.

    The images are uint8 (N, C, H, W), not of the test set, since a choice may be made on them;
    their labels are int64 (N,).
    """
    network = engine.network
    alone = {i: LayerAlone() for i, layer in enumerate(network.layers) if layer.has_weights}
    exact = integer = 0
    if not len(images):  # which no engine need be asked about
        return Sensitivity(0, 0, 0, alone)
    batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
    for pixels, truth in batches:
        x = network.input.normalization(pixels, torch.float64)
        floats = dict(enumerate([x, *outputs(layers, x)], IMAGE))
        codes = dict(enumerate([network.input.encode(pixels), *engine.outputs(pixels)], IMAGE))
        exact += _correct(floats[len(layers) - 1].argmax(1), truth)
        integer += _correct(codes[len(layers) - 1].to(torch.int32).argmax(1), truth)
        for index, counts in alone.items():
            layer, before = network.layers[index], range(IMAGE, index)
            inputs = [floats[source] for source in network.sources[index]]
            y = values(layer, simulate(layer, *inputs, rounding=network.rounding))
            classes = classify(layers, {i: floats[i] for i in before} | {index: y})
            counts.quantized += _correct(classes, truth)
            y = layers[index](*_dequantized(network, index, codes))
            classes = _classify_by_integers(engine, layers, {i: codes[i] for i in before}, y)
            counts.in_float += _correct(classes, truth)
    return Sensitivity(len(images), exact, integer, alone)


def simulate(layer: Layer, *inputs: Tensor, rounding: Rounding) -> Tensor:
    """Return what an integer layer gives for float64 inputs (N, …) that need not be codes.

    Returns:
        Codes (N, O, …), or the accumulators in steps of their scale where the layer gives those;
        float64, and equal to the integers of the engine where the inputs are what codes stand for.
    """
    sums = _as_floats(layer)(*inputs)
    if layer.output is None:
        return scaled(sums, by_channel(layer.accumulator_exponent, sums.dim()))
    codes = rounding.steps(scaled(sums, layer.output.exponent)) + layer.output.zero_point
    return codes.clamp(layer.output.grid.quant_min, layer.largest_code)


def _as_floats(layer: Layer) -> FoldedLayer:
    """Return the float layer of the same weights; what its ReLU6 cuts, codes will."""
    geometry = {name: getattr(layer, name) for name in ("stride", "padding", "kernel", "groups")}
    plain = FoldedLayer(layer.kind, relu=layer.relu, **geometry)
    if layer.bias is None:
        return plain
    bias = dequantize(layer.bias, layer.accumulator_exponent, 0)
    return replace(plain, weight=layer.weight_values, bias=bias)


def _dequantized(network: IntegerNetwork, index: int, codes: Mapping[int, Tensor]) -> list[Tensor]:
    """Return the float64 values that a layer reads as codes."""
    return [
        dequantize(codes[source], read.exponent, read.zero_point)
        for source, read in zip(network.sources[index], network.layers[index].reads, strict=True)
    ]


def _classify_by_integers(
    engine: Engine, layers: Sequence[FoldedLayer], codes: dict[int, Tensor], y: Tensor
) -> Tensor:
    """Return the classes where the layer after `codes` gives floats, and all later ones integers.

    What reads floats is simulated, and so is what stands between two that do.
    """
    network, index, last = engine.network, max(codes) + 1, len(layers) - 1
    floats = {index: y}
    readers = graph.readers(network.sources)
    waiting = set(readers[index])  # that read floats, and have not yet
    while waiting:
        index += 1
        layer, sources = network.layers[index], network.sources[index]
        waiting.discard(index)
        if not layer.accumulates and sources[0] in floats:
            floats[index] = layers[index](floats[sources[0]])
            waiting.update(readers[index])
        elif layer.accumulates:
            inputs = [
                floats[i] if i in floats else dequantize(codes[i], read.exponent, read.zero_point)
                for i, read in zip(sources, layer.reads, strict=True)
            ]
            simulated = simulate(layer, *inputs, rounding=network.rounding)
            codes[index] = simulated if layer.output is None else simulated.to(torch.uint8)
        else:
            codes[index] = pool_or_flatten(layer, codes[sources[0]])
    if last in floats:
        return floats[last].argmax(1)
    if index < last:
        codes[last] = deque(engine.resume(codes), maxlen=1).pop()
    return codes[last].double().argmax(1)


def _correct(classes: Tensor, truth: Tensor) -> int:
    return int((classes == truth).sum())
