"""Learning curves and progress while training goes on, metrics at its end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.training.history import Epoch, evaluate
from powtwo.training.loop import Fit
from powtwo.training.params import Train

CURVES = "plots/training.csv"  # of the float network
FLOAT_BYTES = 4  # of a weight in FP32
# The default recipe takes 112 steps for the digits. With 20, a network for 4 × 20 of them is no
# better than chance.
FEW_STEPS = 100


class Reporter:
    """Reports each epoch; speed and time are printed only, and stay out of the metrics."""

    def __init__(self, epochs: int, images: int, curves: str = CURVES) -> None:
        """Begin to count the time of so many epochs of so many training images."""
        self._epochs, self._images, self._curves = epochs, images, curves
        self._seconds: list[float] = []  # of each epoch that this process has run
        self._last = time.perf_counter()  # when the last one ended

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Write the learning curves, and print a line about the last epoch."""
        write_curves(history, self._curves)
        row = history[-1]
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        # The median: an epoch during which the machine was busy says nothing of those to come.
        left = statistics.median(self._seconds) * (self._epochs - row.epoch)
        print(
            f"epoch {row.epoch}/{self._epochs}: "
            f"loss {row.train_loss:.4f} (validation {row.validation_loss:.4f}), "
            f"accuracy {row.train_accuracy:.2%} (validation {row.validation_accuracy:.2%}), "
            f"{self._images / self._seconds[-1]:.0f} images/s, {left:.0f} s left",
            flush=True,
        )


def few_steps(recipe: Train, images: int) -> str:
    """Say in a line that so many training images make too few steps to learn from, or nothing."""
    if not recipe.epochs:
        return ""
    batch = min(recipe.batch_size, images)
    steps = recipe.epochs * (images // batch)
    said = f"warning: {images} training images make {steps} steps of {batch} images"
    if steps < FEW_STEPS:
        return (
            f"{said}, and a network learns little in fewer than {FEW_STEPS}; lower "
            "train.batch_size, or raise train.epochs"
        )
    if batch < recipe.batch_size:
        return f"{said}, not {recipe.batch_size}, so each takes all of them; lower train.batch_size"
    return ""


def write_curves(history: Sequence[Epoch], path: str = CURVES) -> None:
    """Write the learning curves as a table."""
    files.write_csv(path, Epoch._fields, history)


def metrics(
    network: nn.Module, dataset: Dataset, normalization: Normalization, fit: Fit
) -> dict[str, float]:
    """Count the weights and evaluate the trained network on each part, without augmentation.

    `generalization_gap` is the training minus the validation accuracy, a fraction.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    values: dict[str, float] = {
        "parameters": parameters,
        "size_mb": parameters * FLOAT_BYTES / 2**20,
        "epochs_run": len(fit.history),
        "best_epoch": fit.best_epoch,
    }
    device = next(network.parameters()).device
    for part in ("train", "validation", "test"):
        pixels, labels = (
            torch.from_numpy(getattr(dataset, f"{axis}_{part}")).to(device) for axis in "xy"
        )
        measure = evaluate(network, pixels, labels, normalization)
        values |= {f"{part}_loss": measure.loss, f"{part}_accuracy": measure.accuracy}
    values["generalization_gap"] = values["train_accuracy"] - values["validation_accuracy"]
    return values
