"""Calibration: a float network and images in, exponents for every tensor out.

Everything runs in float64, so that the bytes do not depend on how a machine orders its sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from powtwo.calibration import observers
from powtwo.calibration.equalization import equalize
from powtwo.calibration.observers import Observer
from powtwo.calibration.params import Calibrate
from powtwo.calibration.reconstruction import reconstruct
from powtwo.conversion import layer_config as layer_plans
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.layer_config import LayerQuantConfig
from powtwo.conversion.scheme import Quantizer, Scheme
from powtwo.dataset.images import CHANNELS, IMAGE_SIZE
from powtwo.dataset.normalization import Normalization
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.layer import ActivationQParams
from powtwo.integer.network import Input
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import FoldedLayer, fold, outputs

PIXEL_BITS = 8
DYADIC = ActivationQParams(
    exponent=-7, zero_point=128, bits=PIXEL_BITS
)  # pixel / 128 − 1: the code is the byte


def sample(images: Tensor, options: Calibrate) -> Tensor:
    """Draw the images that observers see, none twice; all where there are not as many."""
    chance = torch.Generator().manual_seed(options.seed)
    return images[torch.randperm(len(images), generator=chance)[: options.images]]


def calibrate(
    checkpoint: Checkpoint,
    classes: Sequence[str],
    images: Tensor,
    scheme: Scheme,
    batch_size: int,
) -> Calibrated:
    """Choose the exponents of a scheme.

    Args:
        checkpoint: the trained float network.
        classes: names in the order of the labels.
        images: uint8 (N, C, H, W), of the training set.
        scheme: the observers and bits to use.
        batch_size: images at a time; the result does not depend on it.

    Raises:
        ValueError: where a tensor holds an infinity or a NaN, naming it.
    """
    layers = fold(checkpoint.network())
    if scheme.equalize:
        layers = equalize(layers)
    plans = layer_plans.of_scheme(layers, scheme)
    seen = {
        plan.index: _observer(scheme.activations, plan.output, f"layer {plan.index}: output")
        for plan in plans
        if plan.output is not None
    }
    _observer(scheme.weights, Grid.of_weights(PIXEL_BITS), "weight")  # its name, before any image
    given = _observer(scheme.activations, Grid.of_activations(PIXEL_BITS), "input")
    for x in _batches(images, checkpoint.normalization, batch_size):
        given.observe(x)
        for index, output in enumerate(outputs(layers, x)):
            if index in seen:
                seen[index].observe(output)
    calibrated = [CalibratedLayer(layer) for layer in layers]
    for plan in plans:
        calibrated[plan.index] = _calibrated(plan, layers[plan.index], scheme, seen.get(plan.index))
    found = Calibrated(
        tuple(classes),
        _input(checkpoint.normalization, given, scheme.activations),
        tuple(calibrated),
    )
    learn = scheme.weights.rounding == "learned"
    if not learn and not scheme.bias_correction:
        return found
    return reconstruct(
        found, scheme, images, batch_size, learn=learn, correct=scheme.bias_correction
    )


def _batches(images: Tensor, normalization: Normalization, size: int) -> Iterator[Tensor]:
    for start in range(0, len(images), size):
        yield normalization(images[start : start + size], torch.float64)


def _calibrated(
    plan: LayerQuantConfig, layer: FoldedLayer, scheme: Scheme, seen: Observer | None
) -> CalibratedLayer:
    output = None
    if plan.output is not None and seen is not None:
        exponent = _exponent(seen, scheme.activations)
        output = ActivationQParams(exponent, plan.output.zero_point, plan.output_bits)
    return CalibratedLayer(layer, _weight_exponent(plan, layer, scheme), plan.weights, output)


def _weight_exponent(
    plan: LayerQuantConfig, layer: FoldedLayer, scheme: Scheme
) -> int | tuple[int, ...]:
    """Choose the exponent of a layer's weights, or one for each of its output channels.

    A channel of zeros has none of its own: it takes the coarsest of the others, whose shift the
    layer has anyway.
    """
    assert layer.weight is not None
    name = f"layer {plan.index}: weight"
    pieces = list(layer.weight) if plan.by_channel else [layer.weight]
    found: list[int | None] = []
    for piece in pieces:
        observer = _observer(scheme.weights, plan.weights.grid, name)
        observer.observe(piece)
        found.append(_exponent(observer, scheme.weights) if bool(piece.any()) else None)
    coarsest = max((e for e in found if e is not None), default=0)
    exponents = tuple(coarsest if e is None else e for e in found)
    return exponents if plan.by_channel else exponents[0]


def _input(normalization: Normalization, seen: Observer, quantizer: Quantizer) -> Input:
    """Return how pixels become codes; a pixel has eight bits whatever the activations have."""
    codes = DYADIC
    if normalization.kind != "dyadic":
        codes = ActivationQParams(_exponent(seen, quantizer), DYADIC.zero_point, PIXEL_BITS)
    return Input((CHANNELS, IMAGE_SIZE, IMAGE_SIZE), codes, normalization)


def _observer(quantizer: Quantizer, grid: Grid, tensor: str) -> Observer:
    return observers.make(quantizer.observer, grid, tensor)


def _exponent(observer: Observer, quantizer: Quantizer) -> int:
    """Return the observer's exponent, within the clamp of the scheme where it has one."""
    exponent, clamp = observer.exponent(), quantizer.clamp
    return exponent if clamp is None else min(max(exponent, clamp[0]), clamp[1])
