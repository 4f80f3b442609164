"""What the step from float to integers changed, image by image, and how sure that is.

Sources:
1. McNemar 1947, the exact binomial form: the paired test of two classifiers on the same images
2. Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953: the score interval of a proportion
3. Bonett and Price 2012, https://doi.org/10.3102/1076998611411915: the adjusted Wald interval of a
   difference of paired proportions; recommended for its coverage, also with few images that differ,
   by Fagerland et al. 2014, https://doi.org/10.1002/sim.6148
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from scipy.special import bdtr
from torch import Tensor
from tqdm import tqdm

from powtwo.core.graph import IMAGE
from powtwo.network.folded import FoldedLayer, logits

DECISIVE = 1e-2  # of the largest logit: a thousand times what float32 gets wrong
Z = 1.959963984540054  # 97.5 % of a normal distribution lie below

INTERVALS = ("accuracy_low", "accuracy_high", "drop_points_low", "drop_points_high")


class Accuracy(NamedTuple):
    """What is right of some images: a row of plots/accuracy/<scheme>.csv.

    None where there are no images, or the float network or the interval was not asked for.
    """

    part: str  # test; validation; sensitivity: those of validation on which layers are tried alone
    images: int
    float_accuracy: float | None
    accuracy: float | None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    drop_points_low: float | None = None
    drop_points_high: float | None = None


def predictions(predict: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
    """Return the class that `predict` gives each image: uint8 (N, C, H, W) to int64 (N,)."""
    batches = torch.split(images, batch_size)
    progress = tqdm(batches, desc="evaluate", unit="batch", disable=None, leave=False)
    return torch.cat([predict(batch) for batch in progress])


def classify(layers: Sequence[FoldedLayer], x: Tensor | Mapping[int, Tensor]) -> Tensor:
    """Return the classes that float layers give to float64 inputs (N, …), as float64 gives them.

    The input is the image, or what there is already of it and of layers, as `logits` takes it.

    So the class of an image is the same on every machine. Float32 decides where the two highest
    logits are far enough apart that its rounding cannot matter, which saves most of the time.
    """
    values = x if isinstance(x, Mapping) else {IMAGE: x}
    quick = logits(layers, {index: value.float() for index, value in values.items()})
    classes, highest = quick.argmax(1), quick.topk(2).values
    close = highest[:, 0] - highest[:, 1] < DECISIVE * quick.abs().amax(1)
    if bool(close.any()):
        few = {index: value[close] for index, value in values.items()}
        classes[close] = logits(layers, few).argmax(1)
    return classes


def compare(labels: Tensor, reference: Tensor, measured: Tensor) -> dict[str, float | int]:
    """Compare the classes of the float and of the integer network on the same images, int64 (N,).

    Returns:
        Accuracies and agreement as fractions, the drop in percentage points, the images that only
        one classifies correctly, and McNemar's exact p (source 1). `…_low` and `…_high` bound the
        95 % interval of an accuracy and of the drop, which is a paired difference.
    """
    was_right, is_right = reference == labels, measured == labels
    gained = int((is_right & ~was_right).sum())
    lost = int((was_right & ~is_right).sum())
    low, high = wilson_interval(int(is_right.sum()), len(labels))
    drop_low, drop_high = paired_interval(lost, gained, len(labels))
    return {
        "test_images": len(labels),
        "float_accuracy": accuracy(labels, reference),
        "accuracy": accuracy(labels, measured),
        "accuracy_low": low,
        "accuracy_high": high,
        "drop_points": 100 * (lost - gained) / len(labels),
        "drop_points_low": 100 * drop_low,
        "drop_points_high": 100 * drop_high,
        "agreement": accuracy(reference, measured),
        "gained": gained,
        "lost": lost,
        "p_value": p_value(gained, lost),
    }


def accuracy(labels: Tensor, classes: Tensor) -> float:
    """Return the fraction of images whose class is their label, int64 (N,) both."""
    return int((classes == labels).sum()) / len(labels)


def p_value(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p; 1 where no image changed sides.

    Both tails of a binomial distribution with p = 1/2 are alike. (scipy.stats has a test for any p,
    which takes a second to import.)
    """
    tail = bdtr(min(gained, lost), gained + lost, 0.5)
    return min(1.0, 2 * float(tail))


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a fraction of which `right` of `total` were seen.

    Wilson's score interval (source 2): it stays within [0, 1] and has a width at 0 and 1 too.

    Raises:
        ValueError: where `total` is not above 0, or `right` is not within 0 … `total`.
    """
    if total <= 0 or not 0 <= right <= total:
        raise ValueError(f"right = {right}, total = {total}: must have 0 <= right <= total, not 0")
    middle = (right + Z**2 / 2) / (total + Z**2)
    half = Z / (total + Z**2) * math.sqrt(right * (total - right) / total + Z**2 / 4)
    # At either end the sums cancel exactly on paper, and not in floats.
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == total else middle + half
    return low, high


def paired_interval(more: int, fewer: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two paired fractions, (more − fewer) / total.

    Of `total` images `more` count for the first alone and `fewer` for the second alone. One is
    added to either count and two to the total (source 3).

    Raises:
        ValueError: where `total` is not above 0, or the counts exceed it.
    """
    if total <= 0 or min(more, fewer) < 0 or more + fewer > total:
        raise ValueError(
            f"more = {more}, fewer = {fewer}, total = {total}: both counts must be 0 or above, "
            "and their sum at most the total, not 0"
        )
    first, second = (more + 1) / (total + 2), (fewer + 1) / (total + 2)
    middle = first - second
    half = Z * math.sqrt((first + second - middle**2) / (total + 2))
    return max(-1.0, middle - half), min(1.0, middle + half)
