"""Calibration: a float network and images in, exponents for every tensor out.

Everything runs in float64, so that the bytes do not depend on how a machine orders its sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from powtwo import observers
from powtwo.calibrated import Calibrated, CalibratedLayer
from powtwo.fixedpoint import Grid
from powtwo.integer import Input
from powtwo.integer_layer import Codes
from powtwo.network import CHANNELS, Checkpoint, FoldedLayer, fold, outputs
from powtwo.normalization import Normalization
from powtwo.observers import Observer
from powtwo.params import IMAGE_SIZE, Calibrate, Quantizer, Scheme

PIXEL_BITS = 8
DYADIC = Codes(
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
    bits = scheme.activations.bits
    grid = Grid.of_activations(bits)
    watched = _outputs_to_code(layers, scheme)
    seen = {i: _observer(scheme.activations, grid, f"layer {i}: output") for i in watched}
    given = _observer(scheme.activations, Grid.of_activations(PIXEL_BITS), "input")
    for x in _batches(images, checkpoint.normalization, batch_size):
        given.observe(x)
        for index, output in enumerate(outputs(layers, x)):
            if index in seen:
                seen[index].observe(output)
    codes = {
        index: Codes(_exponent(observer, scheme.activations), grid.zero_point, bits)
        for index, observer in seen.items()
    }
    return Calibrated(
        tuple(classes),
        _input(checkpoint.normalization, given, scheme.activations),
        tuple(_calibrated(i, layer, scheme, codes.get(i)) for i, layer in enumerate(layers)),
    )


def _outputs_to_code(layers: Sequence[FoldedLayer], scheme: Scheme) -> list[int]:
    """List the layers whose output becomes codes: those that compute, the last if asked for."""
    computing = [index for index, layer in enumerate(layers) if layer.weight is not None]
    return computing if scheme.logits == "codes" else computing[:-1]


def _batches(images: Tensor, normalization: Normalization, size: int) -> Iterator[Tensor]:
    for start in range(0, len(images), size):
        yield normalization(images[start : start + size], torch.float64)


def _calibrated(
    index: int, layer: FoldedLayer, scheme: Scheme, output: Codes | None
) -> CalibratedLayer:
    if layer.weight is None:
        return CalibratedLayer(layer)
    observer = _observer(
        scheme.weights, Grid.of_weights(scheme.weights.bits), f"layer {index}: weight"
    )
    observer.observe(layer.weight)
    return CalibratedLayer(layer, _exponent(observer, scheme.weights), scheme.weights.bits, output)


def _input(normalization: Normalization, seen: Observer, quantizer: Quantizer) -> Input:
    """Return how pixels become codes; a pixel has eight bits whatever the activations have."""
    codes = DYADIC
    if normalization.kind != "dyadic":
        codes = Codes(_exponent(seen, quantizer), DYADIC.zero_point, PIXEL_BITS)
    return Input((CHANNELS, IMAGE_SIZE, IMAGE_SIZE), codes, normalization)


def _observer(quantizer: Quantizer, grid: Grid, tensor: str) -> Observer:
    return observers.make(quantizer.observer, grid, tensor)


def _exponent(observer: Observer, quantizer: Quantizer) -> int:
    """Return the observer's exponent, within the clamp of the scheme where it has one."""
    exponent, clamp = observer.exponent(), quantizer.clamp
    return exponent if clamp is None else min(max(exponent, clamp[0]), clamp[1])
