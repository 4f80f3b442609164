"""Which layer costs the accuracy: each quantized alone, and each alone left in float.

To quantize a layer is to give it the integer network's weights and bias, and its output the codes
of the integer network, by the same rounding. Quantized alone, it reads what the float layers before
it give, and float layers read its output. Left in float alone, it reads the codes of the integer
layers before it; its output stays float until the next weighted layer, which is integer again but
for its input.

Both are counted the same on every machine. A layer that reads floats runs in float64, where a value
that rounding could tip across a code is too rare to be met; exact inputs give exact sums. Integers
run on the engine, and float layers as in `comparison.classify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from powtwo.engine.base import Engine
from powtwo.evaluation.comparison import Accuracy, classify
from powtwo.evaluation.layer_quality import values
from powtwo.integer.fixedpoint import by_channel, dequantize, scaled
from powtwo.integer.layer import Layer
from powtwo.integer.network import Input, IntegerNetwork
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
    engines = [_engine_from(engine, index + 1) for index in range(len(layers))]
    batches = zip(torch.split(images, batch_size), torch.split(labels, batch_size), strict=True)
    for pixels, truth in batches:
        x = network.input.normalization(pixels, torch.float64)
        floats = [x, *outputs(layers, x)]  # the input of each layer, and the logits
        codes = [network.input.encode(pixels), *engine.outputs(pixels)]
        exact += _correct(floats[-1].argmax(1), truth)
        integer += _correct(codes[-1].to(torch.int32).argmax(1), truth)
        for index, counts in alone.items():
            layer = network.layers[index]
            y = values(layer, simulate(layer, floats[index], network.rounding))
            counts.quantized += _correct(classify(layers[index + 1 :], y), truth)
            assert layer.input is not None
            x = dequantize(codes[index], layer.input.exponent, layer.input.zero_point)
            classes = _classify_by_integers(network, layers, engines, index + 1, layers[index](x))
            counts.in_float += _correct(classes, truth)
    return Sensitivity(len(images), exact, integer, alone)


def simulate(layer: Layer, x: Tensor, rounding: Rounding) -> Tensor:
    """Return what an integer layer gives for float64 inputs (N, …) that need not be codes.

    Returns:
        Codes (N, O, …), or the accumulators in steps of their scale where the layer gives those;
        float64, and equal to the integers of the engine where `x` is what codes stand for.
    """
    assert layer.bias is not None
    bias = dequantize(layer.bias, layer.accumulator_exponent, 0)
    sums = FoldedLayer(
        layer.kind, layer.weight_values, bias, layer.relu,
        layer.stride, layer.padding, layer.kernel,
    )(x)  # fmt: skip
    if layer.output is None:
        return scaled(sums, by_channel(layer.accumulator_exponent, sums.dim()))
    codes = rounding.steps(scaled(sums, layer.output.exponent)) + layer.output.zero_point
    return codes.clamp(layer.output.grid.quant_min, layer.output.grid.quant_max)


def _classify_by_integers(
    network: IntegerNetwork,
    layers: Sequence[FoldedLayer],
    engines: Sequence[Engine | None],
    start: int,
    x: Tensor,
) -> Tensor:
    """Return the classes of float64 inputs of layer `start`, from which on all are integers."""
    for index in range(start, len(layers)):
        layer = network.layers[index]
        if layer.has_weights:
            codes, engine = simulate(layer, x, network.rounding), engines[index]
            return codes.argmax(1) if engine is None else engine.predict(_as_images(codes))
        x = layers[index](x)
    return x.argmax(1)


class _CodedInput(Input):
    """The input of a network that starts in the middle: it is given codes, not pixels."""

    def encode(self, pixels: Tensor) -> Tensor:
        return pixels


def _engine_from(engine: Engine, start: int) -> Engine | None:
    """Return an engine for the layers from `start` on; None where none of them has weights.

    Engines take images (N, C, H, W), so a network that starts with a linear layer flattens first.
    """
    layers = engine.network.layers[start:]
    first = next((layer for layer in layers if layer.has_weights), None)
    if first is None:
        return None
    if layers[0].kind == "linear":
        layers = (Layer("flatten"), *layers)
    assert first.input is not None
    pixels = engine.network.input  # its shape and normalization are not asked again
    coded = _CodedInput(pixels.shape, first.input, pixels.normalization)
    return type(engine)(replace(engine.network, input=coded, layers=layers), str(engine.device))


def _as_images(codes: Tensor) -> Tensor:
    codes = codes.to(torch.uint8)
    return codes if codes.dim() == 4 else codes[:, :, None, None]


def _correct(classes: Tensor, truth: Tensor) -> int:
    return int((classes == truth).sum())
