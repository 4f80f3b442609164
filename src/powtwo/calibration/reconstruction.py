"""Reconstruction: each layer of the quantized network brought back to what the float one gives.

Layer by layer, from the first: the inputs that the integer network really has, with all layers
before it done, and the outputs that the float network has there, give the codes of the weights
(`learned_rounding`) and the bias (`bias_correction`). Results depend neither on the order nor on
the batches of the images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.calibration import bias_correction, learned_rounding
from powtwo.calibration.exact_float import ExactFloatLayer, round_to_grid
from powtwo.calibration.learned_rounding import Moments
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.conversion.to_integer import convert_layer
from powtwo.engine.floats import FloatStep
from powtwo.integer.fixedpoint import by_channel, by_output, power_of_two, scaled
from powtwo.integer.layer import Layer
from powtwo.network.folded import FoldedLayer

SAMPLES = 2**15  # positions of a layer that its rounding learns from, at most; or one an image


@dataclass(eq=False)
class _Inputs:
    """What all images give a layer."""

    exact: Tensor  # float32 (N, …): the float network's, on the grid of `round_to_grid`
    codes: Tensor  # int16 (N, …): the integer network's, less the zero point
    marks: Tensor  # int64 (N,): a number of each image, for drawing positions


def reconstruct(
    calibrated: Calibrated,
    scheme: Scheme,
    images: Tensor,
    batch_size: int,
    *,
    learn: bool,
    correct: bool,
) -> Calibrated:
    """Return the network with weights on their grids and corrected biases, as asked for.

    Args:
        calibrated: the float network and its exponents.
        scheme: how it will be converted.
        images: uint8 (N, C, H, W), of the training set.
        batch_size: images at a time; the result does not depend on it.
        learn: whether the rounding of weights is learned.
        correct: whether biases are corrected.

    Raises:
        ValueError: where a sum would not be exact, or a layer cannot be converted.
    """
    layers = list(calibrated.layers)
    inputs, codes = _begin(calibrated, images, batch_size), calibrated.input.codes
    for index, layer in enumerate(layers):
        if layer.folded.weight is None:
            inputs.exact, inputs.codes = (
                layer.folded(inputs.exact),
                _pool_or_flatten(layer, inputs.codes),
            )
            continue
        integer = convert_layer(index, layers[index], codes, scheme)
        exact, moments = _look(layer, integer, inputs, batch_size, learn)
        if learn:
            moments = moments.centered() if correct else moments
            layers[index] = _learned(layer, integer, moments)
            integer = convert_layer(index, layers[index], codes, scheme)
        if correct:
            bias = _corrected_bias(layer.folded, integer, inputs)
            adapted = replace(layers[index].source, bias=bias)
            layers[index] = replace(layers[index], adapted=adapted)
            integer = convert_layer(index, layers[index], codes, scheme)
        if integer.output is None:
            break
        inputs.exact, inputs.codes = exact, _run(integer, scheme, inputs.codes, batch_size)
        codes = integer.output
    return replace(calibrated, layers=tuple(layers))


def _begin(calibrated: Calibrated, images: Tensor, size: int) -> _Inputs:
    given = calibrated.input
    exact = [
        round_to_grid(given.normalization(batch, torch.float64), given.codes.exponent)
        for batch in torch.split(images, size)
    ]
    codes = given.encode(images).to(torch.int16) - given.codes.zero_point
    marks = images.flatten(1).sum(1, dtype=torch.int64)
    return _Inputs(torch.cat(exact), codes, marks)


def _pool_or_flatten(layer: CalibratedLayer, codes: Tensor) -> Tensor:
    """Pool or flatten; float32 holds every code."""
    return layer.folded(codes.float()).to(torch.int16)


def _look(
    layer: CalibratedLayer, integer: Layer, inputs: _Inputs, size: int, learns: bool
) -> tuple[Tensor, Moments]:
    """Return the float network's output, and the moments of sampled positions."""
    fine = ExactFloatLayer(layer.folded)
    assert integer.input is not None
    exponent = (integer.output or integer.input).exponent
    exact, moments = [], []
    for x, codes, marks in _batches(inputs, size):
        sums = fine.sums(x)
        if learns:
            wanted = torch.round(scaled(sums, by_channel(integer.accumulator_exponent, sums.dim())))
            places = _places(wanted, marks, len(inputs.marks))
            moments.append(
                Moments.of(_patches(layer.folded, codes, places), _pick(wanted, *places))
            )
        exact.append(fine.finish(sums, exponent))
    total = reduce(Moments.__add__, moments) if moments else Moments.of(*torch.zeros(2, 1, 1))
    return torch.cat(exact), total


def _batches(inputs: _Inputs, size: int) -> Iterator[tuple[Tensor, ...]]:
    splits = (torch.split(part, size) for part in (inputs.exact, inputs.codes, inputs.marks))
    return zip(*splits, strict=True)


def _places(outputs: Tensor, marks: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Return rows and columns (n, p) of the sampled outputs of each image.

    They are evenly spaced, from a first one that the image's pixels alone decide: not the order.
    """
    if outputs.dim() == 2:
        return (torch.zeros(len(outputs), 1, dtype=torch.int64),) * 2
    height, width = outputs.shape[2:]
    stride = min(-(-height * width * images // SAMPLES), height * width)
    count = height * width // stride
    flat = (marks % stride)[:, None] + stride * torch.arange(count)
    return flat // width, flat % width


def _pick(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (n·p, C) of x (n, C, H, W) at p places of each image; x itself where it is (n, C)."""
    if x.dim() == 2:
        return x
    return x[torch.arange(len(x))[:, None], :, rows, columns].flatten(0, 1)


def _patches(layer: FoldedLayer, x: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
    """Return what the weights of an output meet at these places, (n·p, K)."""
    if layer.kind == "linear":
        return x
    x = F.pad(x, [layer.padding] * 4)
    rows, columns = (side * layer.stride for side in places)
    kernel = range(layer.kernel)
    parts = [_pick(x, rows + dy, columns + dx) for dy in kernel for dx in kernel]
    return torch.stack(parts, dim=-1).flatten(1)  # (n·p, C, kH·kW) → (n·p, K)


def _learned(layer: CalibratedLayer, integer: Layer, moments: Moments) -> CalibratedLayer:
    weight = layer.folded.weight
    assert weight is not None
    exponent = by_output(integer.weight_exponent, weight)
    steps = scaled(weight, exponent).flatten(1)
    codes = learned_rounding.learn(steps, moments, layer.weight_format.grid.codes).view_as(weight)
    return replace(layer, adapted=replace(layer.folded, weight=codes * power_of_two(exponent)))


def _corrected_bias(layer: FoldedLayer, integer: Layer, inputs: _Inputs) -> Tensor:
    """Return the bias of a float layer, corrected for the weights of the integer layer."""
    assert layer.weight is not None
    assert layer.bias is not None
    assert integer.input is not None
    mean = bias_correction.mean_inputs(layer, inputs.exact)
    mean_codes = bias_correction.mean_inputs(layer, inputs.codes)
    mean_q = mean_codes * power_of_two(integer.input.exponent)
    return layer.bias + bias_correction.shift_of_means(
        (layer.weight, mean), (integer.weight_values, mean_q)
    )


def _run(integer: Layer, scheme: Scheme, codes: Tensor, size: int) -> Tensor:
    """Return the integer layer's output less its zero point."""
    step = FloatStep(integer, scheme.rounding, torch.device("cpu"))
    return torch.cat([step(batch.float()).to(torch.int16) for batch in torch.split(codes, size)])
