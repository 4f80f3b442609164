"""Evaluation: what the step from float to integers changed, image by image and layer by layer.

Sources:
1. McNemar 1947, the exact binomial form: the paired test of two classifiers on the same images
2. SQNR = 10·log10(Σ x² / Σ (x − x̂)²): Lin et al. 2016, https://arxiv.org/abs/1511.06393
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from powtwo import sampling
from powtwo.engine import Engine
from powtwo.fixedpoint import dequantize
from powtwo.integer_layer import Layer
from powtwo.network import FoldedLayer, logits, outputs
from powtwo.normalization import Normalization

DECISIVE = 1e-2  # of the largest logit: a thousand times what float32 gets wrong


def predictions(predict: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Return the class that `predict` gives each image: uint8 (N, C, H, W) to int64 (N,)."""
    starts = range(0, len(images), batch_size)
    batches = tqdm(starts, desc="evaluate", unit="batch", disable=None, leave=False)
    return torch.cat([predict(images[start : start + batch_size]) for start in batches])


def float_predictor(
    layers: Sequence[FoldedLayer], normalization: Normalization
) -> Callable[[Tensor], Tensor]:
    """Return the float network as a function from pixels to classes, as float64 gives them.

    So the class of an image is the same on every machine. Float32 decides where the two highest
    logits are far enough apart that its rounding cannot matter, which saves most of the time.
    """

    def run(pixels: Tensor, dtype: torch.dtype) -> Tensor:
        return logits(layers, normalization(pixels, dtype))

    def predict(pixels: Tensor) -> Tensor:
        quick = run(pixels, torch.float32)
        classes, highest = quick.argmax(1), quick.topk(2).values
        close = highest[:, 0] - highest[:, 1] < DECISIVE * quick.abs().amax(1)
        if bool(close.any()):
            classes[close] = run(pixels[close], torch.float64).argmax(1)
        return classes

    return predict


def spread(images: Tensor, count: int) -> Tensor:
    """Return `count` images evenly spaced over all of them, which may stand sorted by class."""
    return images[sampling.evenly(len(images), count)]


def compare(labels: Tensor, reference: Tensor, measured: Tensor) -> dict[str, float | int]:
    """Compare two networks' classes on the same images.

    Args:
        labels: int64 (N,), the truth.
        reference: the float network's classes.
        measured: the integer network's classes.

    Returns:
        Accuracies and agreement as fractions, the drop in percentage points, the images that only
        one has right, and McNemar's exact p (source 1).
    """
    was_right, is_right = reference == labels, measured == labels
    gained = int((is_right & ~was_right).sum())
    lost = int((was_right & ~is_right).sum())
    return {
        "test_images": len(labels),
        "float_accuracy": _fraction(was_right),
        "accuracy": _fraction(is_right),
        "drop_points": 100 * (lost - gained) / len(labels),
        "agreement": _fraction(reference == measured),
        "gained": gained,
        "lost": lost,
        "p_value": p_value(gained, lost),
    }


def on_validation(labels: Tensor, measured: Tensor) -> dict[str, float | int]:
    """Return what schemes are chosen by: validation images, and the fraction that is right."""
    accuracy = _fraction(measured == labels)
    return {"validation_images": len(labels), "validation_accuracy": accuracy}


def p_value(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p; 1 where no image changed sides."""
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost, 0.5).pvalue)


@dataclass(frozen=True)
class LayerQuality:
    """How well a computing layer's integer output stands for its float output."""

    layer: int  # index in the network
    kind: str
    sqnr_db: float


def sqnr_by_layer(
    engine: Engine, layers: Sequence[FoldedLayer], images: Tensor, batch_size: int
) -> list[LayerQuality]:
    """Return the SQNR (source 2) of each computing layer's output over all `images`.

    Raises:
        ValueError: where a layer's float output is zero throughout, so that it has no SQNR.
    """
    integer_layers, given = engine.network.layers, engine.network.input.normalization
    signal, noise = [0.0] * len(layers), [0.0] * len(layers)
    for start in range(0, len(images), batch_size):
        pixels = images[start : start + batch_size]
        exact = outputs(layers, given(pixels, torch.float64))
        for index, (x, codes) in enumerate(zip(exact, engine.outputs(pixels), strict=True)):
            if integer_layers[index].computes:
                signal[index] += x.square().sum().item()
                noise[index] += (x - values(integer_layers[index], codes)).square().sum().item()
    return [
        LayerQuality(index, layer.kind, _decibels(index, signal[index], noise[index]))
        for index, layer in enumerate(integer_layers)
        if layer.computes
    ]


def values(layer: Layer, codes: Tensor) -> Tensor:
    """Return the float64 values that a computing layer's output (N, O, …) stands for."""
    if layer.output is not None:
        return dequantize(codes, layer.output.exponent, layer.output.zero_point)
    return dequantize(codes, layer.accumulator_exponent, 0)  # (N, O) with e of () or (O,)


def _decibels(index: int, signal: float, noise: float) -> float:
    if signal == 0:
        raise ValueError(f"layer {index}: its float output is zero throughout; train it longer")
    # No noise at all happens on toy networks alone; 200 dB is beyond what 32 bits can reach.
    return 10 * math.log10(signal / noise) if noise else 200.0


def _fraction(mask: Tensor) -> float:
    return int(mask.sum()) / len(mask)
