"""Evaluation: what the step from float to integers changed, image by image.

Sources:
1. McNemar 1947, the exact binomial form: the paired test of two classifiers on the same images
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.special import bdtr
from torch import Tensor
from tqdm import tqdm

from powtwo.dataset.normalization import Normalization
from powtwo.evaluation import intervals
from powtwo.network.folded import FoldedLayer, logits

DECISIVE = 1e-2  # of the largest logit: a thousand times what float32 gets wrong


def predictions(predict: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Return the class that `predict` gives each image: uint8 (N, C, H, W) to int64 (N,)."""
    starts = range(0, len(images), batch_size)
    batches = tqdm(starts, desc="evaluate", unit="batch", disable=None, leave=False)
    return torch.cat([predict(images[start : start + batch_size]) for start in batches])


def float_predictor(
    layers: Sequence[FoldedLayer], normalization: Normalization
) -> Callable[[Tensor], Tensor]:
    """Return the float network as a function from pixels to classes, as float64 gives them."""

    def predict(pixels: Tensor) -> Tensor:
        return classify(layers, normalization(pixels, torch.float64))

    return predict


def classify(layers: Sequence[FoldedLayer], x: Tensor) -> Tensor:
    """Return the classes that float layers give to float64 inputs (N, …), as float64 gives them.

    So the class of an image is the same on every machine. Float32 decides where the two highest
    logits are far enough apart that its rounding cannot matter, which saves most of the time.
    """
    quick = logits(layers, x.float())
    classes, highest = quick.argmax(1), quick.topk(2).values
    close = highest[:, 0] - highest[:, 1] < DECISIVE * quick.abs().amax(1)
    if bool(close.any()):
        classes[close] = logits(layers, x[close]).argmax(1)
    return classes


def compare(labels: Tensor, reference: Tensor, measured: Tensor) -> dict[str, float | int]:
    """Compare two networks' classes on the same images.

    Args:
        labels: int64 (N,), the truth.
        reference: the float network's classes.
        measured: the integer network's classes.

    Returns:
        Accuracies and agreement as fractions, the drop in percentage points, the images that only
        one has right, and McNemar's exact p (source 1). `…_low` and `…_high` bound the 95 %
        interval of an accuracy and of the drop, which is a paired difference.
    """
    was_right, is_right = reference == labels, measured == labels
    gained = int((is_right & ~was_right).sum())
    lost = int((was_right & ~is_right).sum())
    low, high = intervals.of_fraction(int(is_right.sum()), len(labels))
    least, most = intervals.of_paired_difference(lost, gained, len(labels))
    return {
        "test_images": len(labels),
        "float_accuracy": _fraction(was_right),
        "accuracy": _fraction(is_right),
        "accuracy_low": low,
        "accuracy_high": high,
        "drop_points": 100 * (lost - gained) / len(labels),
        "drop_points_low": 100 * least,
        "drop_points_high": 100 * most,
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
    """Return McNemar's exact two-sided p; 1 where no image changed sides.

    Both tails of a binomial distribution with p = 1/2 are alike. (scipy.stats has a test for any p,
    which takes a second to import.)
    """
    tail = bdtr(min(gained, lost), gained + lost, 0.5)
    return min(1.0, 2 * float(tail))


def _fraction(mask: Tensor) -> float:
    return int(mask.sum()) / len(mask)
