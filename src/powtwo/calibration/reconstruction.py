"""Reconstruction: each layer of the quantized network brought back to what the float one gives.

Layer by layer, from the first: the inputs that the integer network really has, with all layers
before it done, and the outputs that the float network has there, give the codes of the weights
(`learned_rounding`) and the bias. Results depend neither on the order nor on the batches of the
images: what is summed are codes, or values of `exact_float`.

Bias correction takes out of a bias what quantization adds to its channel's mean, with x as the
float network has it and x_q as the integer network has it after all that was corrected before:

    b' = b + E[W x] − E[W_q x_q]

E[W x] = W · E[x], so only the mean of each input is needed. A layer's x_q holds what the shift
before it dropped, half a unit on average where it floors, so that loss is made good here.

Source: bias correction with images, Nagel et al. 2019, https://arxiv.org/abs/1906.04721, §4.2
and appendix D
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.calibration import learned_rounding
from powtwo.calibration.exact_float import ExactFloatLayer, round_to_grid
from powtwo.calibration.learned_rounding import Moments
from powtwo.conversion import layer_config
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.conversion.to_integer import WIDE, convert_layer
from powtwo.core import graph
from powtwo.core.windows import pad_argument, pair
from powtwo.engine.choose import layer_step
from powtwo.integer.fixedpoint import by_channel, by_output, power_of_two, scaled
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.network.folded import FoldedLayer

FARTHEST = 2**20  # steps of a weight: beyond every code, and sums of so many stay exact
SAMPLES = 2**15  # positions of a layer that its rounding learns from, at most; or one an image


@dataclass(eq=False)
class _Inputs:
    """What all images give a layer."""

    exact: Tensor  # float32 (N, …): the float network's, on the grid of `round_to_grid`
    codes: Tensor  # int16 (N, …): the integer network's, less the zero point
    keys: Tensor  # int64 (N,): a number of each image, for drawing positions
    qparams: ActivationQParams  # of the codes

    def batches(self, size: int) -> Iterator[tuple[Tensor, ...]]:
        splits = (torch.split(part, size) for part in (self.exact, self.codes, self.keys))
        return zip(*splits, strict=True)

    def passed_on(self, layer: FoldedLayer) -> _Inputs:
        """Return what a pooling or a flattening makes of it; float32 holds every code."""
        codes = layer(self.codes.float()).to(torch.int16)
        return _Inputs(layer(self.exact), codes, self.keys, self.qparams)


def reconstruct(
    calibrated: Calibrated, scheme: Scheme, images: Tensor, batch_size: int
) -> Calibrated:
    """Return the network with learned weights and corrected biases, as far as the scheme asks.

    The images are uint8 (N, C, H, W), of the training set; the batch size changes nothing.

    Raises:
        ValueError: where a sum would not be exact, or a layer cannot be converted.
    """
    learn, correct = scheme.weights.rounding == "learned", scheme.bias_correction
    if not learn and not correct:
        return calibrated
    layers = list(calibrated.layers)
    reads = graph.sources(calibrated.folded)
    readers = graph.readers(reads)
    accumulators = layer_config.accumulators(calibrated.folded, scheme)
    values = {graph.IMAGE: _network_inputs(calibrated, images, batch_size)}
    for index, sources in enumerate(reads):
        inputs = [values[source] for source in sources]
        if layers[index].folded.accumulates:
            to_integers = partial(
                convert_layer,
                index,
                codes=[each.qparams for each in inputs],
                scheme=scheme,
                accumulator=accumulators.get(index, WIDE),
            )
            output = _Reconstruction(scheme, to_integers, inputs, batch_size).of(index, layers)
            if output is None:  # int32 logits: nothing but flattening follows
                break
        else:
            output = inputs[0].passed_on(layers[index].folded)
        values[index] = output
        for source in set(sources):
            if max(readers[source]) == index:
                del values[source]
    return replace(calibrated, layers=tuple(layers))


class _Reconstruction:
    """One layer that adds up, of a scheme that reconstructs."""

    def __init__(
        self,
        scheme: Scheme,
        to_integers: Callable[[CalibratedLayer], Layer],
        inputs: Sequence[_Inputs],
        batch_size: int,
    ) -> None:
        self.scheme, self.inputs, self.size = scheme, inputs, batch_size
        self.to_integers = to_integers
        self.learns = scheme.weights.rounding == "learned"

    def of(self, index: int, layers: list[CalibratedLayer]) -> _Inputs | None:
        """Reconstruct a layer in place, and return what it gives; None where that is int32."""
        layer = layers[index]
        integer = self.to_integers(layer)
        if layer.folded.weight is None:
            exact = self._exact_sums(layer.folded, integer)
        else:
            (inputs,) = self.inputs
            exact, moments = _exact_outputs(layer, integer, inputs, self.size, self.learns)
            if moments is not None:
                correct = self.scheme.bias_correction
                moments = [each.centered() if correct else each for each in moments]
                layer = _learned(layer, integer, moments)
                integer = self.to_integers(layer)
            if self.scheme.bias_correction:
                layer = _corrected(layer, integer, inputs)
                integer = self.to_integers(layer)
            layers[index] = layer
        if integer.output is None:
            return None
        step = layer_step(integer, self.scheme.rounding)
        batches = zip(*(torch.split(each.codes, self.size) for each in self.inputs), strict=True)
        codes = torch.cat([step(*batch) for batch in batches])
        return _Inputs(exact, codes, self.inputs[0].keys, integer.output)

    def _exact_sums(self, folded: FoldedLayer, integer: Layer) -> Tensor:
        """Return what an addition or an average gives of the float network's values."""
        output = integer.output
        exponent = int(integer.accumulator_exponent) if output is None else output.exponent
        batches = zip(*(torch.split(each.exact, self.size) for each in self.inputs), strict=True)
        exact = [folded(*(x.double() for x in batch)) for batch in batches]
        return torch.cat([round_to_grid(x, exponent) for x in exact])


def _network_inputs(calibrated: Calibrated, images: Tensor, size: int) -> _Inputs:
    normalize, qparams = calibrated.input.normalization, calibrated.input.codes
    exact = [
        round_to_grid(normalize(batch, torch.float64), qparams.exponent)
        for batch in torch.split(images, size)
    ]
    codes = calibrated.input.encode(images).to(torch.int16) - qparams.zero_point
    keys = images.flatten(1).sum(1, dtype=torch.int64)
    return _Inputs(torch.cat(exact), codes, keys, qparams)


def _exact_outputs(
    layer: CalibratedLayer, integer: Layer, inputs: _Inputs, size: int, learn: bool
) -> tuple[Tensor, list[Moments] | None]:
    """Return the float network's output, and, of each group, the moments to learn from."""
    exact_layer = ExactFloatLayer(layer.folded)
    assert integer.input is not None
    exponent = (integer.output or integer.input).exponent
    most = _largest_sum(integer)
    exact, moments = [], []
    for x, codes, keys in inputs.batches(size):
        sums = exact_layer.sums(x)
        if learn:
            wanted = torch.round(scaled(sums, by_channel(integer.accumulator_exponent, sums.dim())))
            wanted = wanted.clamp(-most, most)
            positions = _positions(wanted, keys, len(inputs.keys))
            patches = _patches(layer.folded, codes, positions).chunk(layer.folded.groups, 1)
            outputs = _pick(wanted, *positions).chunk(layer.folded.groups, 1)
            moments.append([Moments.of(*each) for each in zip(patches, outputs, strict=True)])
        exact.append(exact_layer.outputs(sums, exponent))
    if not learn:
        return torch.cat(exact), None
    return torch.cat(exact), [reduce(Moments.__add__, each) for each in zip(*moments, strict=True)]


def _largest_sum(layer: Layer) -> float:
    """Return the largest |sum| that any codes of the weights could give, without the bias.

    What is beyond it, as where a clamp holds exponents far too fine, no rounding can give.
    """
    assert layer.weight is not None
    return layer.weight[0].numel() * layer.weight_format.grid.max_abs * layer.largest_input


def _positions(outputs: Tensor, keys: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Return rows and columns (n, p) of the sampled outputs of each image.

    They are evenly spaced, from a first one that the image's pixels alone decide: not the order.
    """
    if outputs.dim() == 2:
        return (torch.zeros(len(outputs), 1, dtype=torch.int64),) * 2
    height, width = outputs.shape[2:]
    stride = min(-(-height * width * images // SAMPLES), height * width)
    count = height * width // stride
    flat = (keys % stride)[:, None] + stride * torch.arange(count)
    return flat // width, flat % width


def _pick(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (n·p, C) of x (n, C, H, W) at p places of each image; x itself where it is (n, C)."""
    if x.dim() == 2:
        return x
    return x[torch.arange(len(x))[:, None], :, rows, columns].flatten(0, 1)


def _patches(layer: FoldedLayer, x: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
    """Return what the weights of an output meet at these positions, (n·p, K)."""
    if layer.kind == "linear":
        return x
    x = F.pad(x, pad_argument(layer.padding))
    rows, columns = (side * step for side, step in zip(positions, pair(layer.stride), strict=True))
    high, wide = map(range, pair(layer.kernel))
    parts = [_pick(x, rows + dy, columns + dx) for dy in high for dx in wide]
    return torch.stack(parts, dim=-1).flatten(1)  # (n·p, C, kH·kW) → (n·p, K)


def _learned(layer: CalibratedLayer, integer: Layer, moments: list[Moments]) -> CalibratedLayer:
    weight = layer.folded.weight
    assert weight is not None
    exponent = by_output(integer.weight_exponent, weight)
    steps = scaled(weight, exponent).flatten(1).clamp(-FARTHEST, FARTHEST)
    allowed = layer.weight_format.grid.codes
    groups = zip(steps.chunk(len(moments)), moments, strict=True)
    codes = torch.cat([learned_rounding.learn(*each, allowed) for each in groups]).view_as(weight)
    return replace(layer, adapted=replace(layer.folded, weight=codes * power_of_two(exponent)))


def _corrected(layer: CalibratedLayer, integer: Layer, inputs: _Inputs) -> CalibratedLayer:
    folded = layer.folded
    assert folded.weight is not None
    assert folded.bias is not None
    assert integer.input is not None
    mean_q = mean_inputs(folded, inputs.codes) * power_of_two(integer.input.exponent)
    exact = folded.weight, mean_inputs(folded, inputs.exact)
    bias = folded.bias + mean_difference(exact, (integer.weight_values, mean_q))
    return replace(layer, adapted=replace(layer.source, bias=bias))


def mean_inputs(layer: FoldedLayer, x: Tensor) -> Tensor:
    """Return the mean of what each weight of an output meets, over images and positions.

    Inputs are (N, C, H, W) or (N, I), multiples of a power of two, so that sums are exact; means
    are float64 (K,), in the order of the weights of one output, or (O, K) where groups differ.
    """
    total = x.sum(0, dtype=torch.float64)
    if layer.kind == "linear":
        return total / len(x)
    total = F.pad(total, pad_argument(layer.padding))
    patches = F.unfold(total[None], pair(layer.kernel), stride=pair(layer.stride))[0]
    means = patches.sum(1) / (len(x) * patches.shape[1])
    if layer.groups == 1:
        return means
    assert layer.weight is not None
    of_group = len(layer.weight) // layer.groups
    return means.view(layer.groups, -1).repeat_interleave(of_group, 0)


def mean_difference(exact: tuple[Tensor, Tensor], quantized: tuple[Tensor, Tensor]) -> Tensor:
    """Return E[W x] − E[W_q x_q] of each output, for weights (O, …) and mean inputs (K,) of each.

    Returns:
        float64 (O,), each the correctly rounded sum of its rounded products, in whatever order.
    """
    (weight, mean), (weight_q, mean_q) = exact, quantized
    terms = torch.cat([weight.flatten(1) * mean, -weight_q.flatten(1) * mean_q], dim=1)
    return torch.tensor([math.fsum(row) for row in terms.tolist()], dtype=torch.float64)
