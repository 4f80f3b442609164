"""Calibration: a float network and images in, exponents for every tensor out.

Everything runs in float64, so that the bytes do not depend on how a machine orders its sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from powtwo.calibration.equalization import equalize
from powtwo.calibration.observers import Observer, PerAxis, PerTensor
from powtwo.calibration.params import Calibrate
from powtwo.calibration.reconstruction import reconstruct
from powtwo.conversion import layer_config
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.layer_config import LayerQuantConfig
from powtwo.conversion.scheme import Quantizer, Scheme
from powtwo.conversion.to_integer import with_addable_inputs
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.layer import ActivationQParams
from powtwo.integer.network import Input
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folded import FoldedLayer, outputs
from powtwo.network.folding import fold

DYADIC = ActivationQParams(exponent=-7)  # of pixel / 128 − 1, eight bits whatever the activations
NEXT_TO_NOTHING = -30  # exponent of weights that are 0 where no code is
INPUT = -1  # where a layer's index tells tensors apart


def sample(images: Tensor, options: Calibrate) -> Tensor:
    """Draw the images that observers see, none twice; all where there are not as many."""
    generator = torch.Generator().manual_seed(options.seed)
    return images[torch.randperm(len(images), generator=generator)[: options.images]]


def calibrate(
    checkpoint: Checkpoint, classes: Sequence[str], images: Tensor, scheme: Scheme, batch_size: int
) -> Calibrated:
    """Choose the exponents of a scheme by images of the training set, uint8 (N, C, H, W).

    Classes are named in the order of the labels; the batch size changes nothing.

    Raises:
        ValueError: where a tensor holds an infinity or a NaN, naming it, or an observer is unknown.
    """
    layers = fold(checkpoint.network())
    if scheme.equalize:
        layers = equalize(layers)
    calibrated = [CalibratedLayer(layer) for layer in layers]
    grids = {INPUT: DYADIC.grid}
    for config in layer_config.of_scheme(layers, scheme):
        layer = layers[config.index]
        exponent: int | tuple[int, ...] = 0
        if layer.weight is not None:
            exponent = weight_exponent(config, layer, scheme.weights)
        calibrated[config.index] = CalibratedLayer(layer, exponent, config.weights)
        if config.output is not None:
            grids[config.index] = config.output
    normalize, batches = checkpoint.normalization, torch.split(images, batch_size)
    inputs = (normalize(batch, torch.float64) for batch in batches)
    qparams = _activation_qparams(layers, grids, scheme.activations, inputs)
    codes = DYADIC if normalize.kind == "dyadic" else qparams[INPUT]
    network = Calibrated(
        tuple(classes),
        Input(checkpoint.architecture.image, codes, normalize),
        tuple(replace(layer, output=qparams.get(i)) for i, layer in enumerate(calibrated)),
    )
    # Which of two inputs an addition cannot take as fine as it is, no layer can know alone.
    network, _ = with_addable_inputs(network, scheme)
    return reconstruct(network, scheme, images, batch_size)


def weight_exponent(
    config: LayerQuantConfig, layer: FoldedLayer, quantizer: Quantizer
) -> int | tuple[int, ...]:
    """Choose the exponent of a layer's weights, or one for each of its output channels.

    A channel of zeros has none of its own: it takes the coarsest of the others, whose shift the
    layer has anyway. Where no code is 0, its codes of ±1 shall stand for little: it takes the
    finest, and a layer of zeros `NEXT_TO_NOTHING`.
    """
    weight = layer.weight
    assert weight is not None
    granularity = PerAxis(0) if config.by_channel else PerTensor()
    name, grid = f"layer {config.index}: weight", config.weights.grid
    observer = Observer(quantizer.observer, grid, quantizer.clamp, granularity, name)
    observer.forward(weight)
    exponent, _ = observer.calculate_qparams()
    nonzero = weight.flatten(1).any(1) if config.by_channel else weight.any()
    others = exponent[nonzero]
    if grid.zero:
        fallback = int(others.max()) if len(others) else 0
    else:
        fallback = int(others.min()) if len(others) else NEXT_TO_NOTHING
    exponent = torch.where(nonzero, exponent, fallback)
    return tuple(exponent.tolist()) if config.by_channel else int(exponent)


def _activation_qparams(
    layers: Sequence[FoldedLayer],
    grids: Mapping[int, Grid],
    quantizer: Quantizer,
    inputs: Iterable[Tensor],
) -> dict[int, ActivationQParams]:
    """Observe the input, and the output of each layer that gives codes; by the layer's index."""
    names = {index: "input" if index == INPUT else f"layer {index}: output" for index in grids}
    observers = {
        index: Observer(quantizer.observer, grid, quantizer.clamp, tensor=names[index])
        for index, grid in grids.items()
    }
    for x in inputs:
        for index, tensor in enumerate(chain([x], outputs(layers, x)), start=INPUT):
            if index in observers:
                observers[index].forward(tensor)
    bits = {index: grid.quant_max.bit_length() for index, grid in grids.items()}
    qparams = {index: observer.calculate_qparams() for index, observer in observers.items()}
    return {i: ActivationQParams(int(e), z, bits[i]) for i, (e, z) in qparams.items()}
