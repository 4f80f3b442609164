"""What tells about a training: its curves as it goes on, its metrics, what it ran on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.training import devices
from powtwo.training.history import Epoch
from powtwo.training.measuring import evaluate
from powtwo.training.params import Train

FLOAT_BYTES = 4  # of a weight in FP32


class Reporter:
    """What tells about a run while it goes on; speed and time stay out of the metrics."""

    def __init__(self, epochs: int, images: int) -> None:
        """Begin to count the time of so many epochs of so many training images."""
        self._epochs, self._images = epochs, images
        self._seconds: list[float] = []  # of each epoch that this process has seen
        self._last = time.perf_counter()  # when the last one ended

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Write the learning curves, and print a line about the last epoch."""
        write_curves(history)
        row = history[-1]
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        self._last = now
        # An epoch that the machine was held in says nothing of those to come.
        left = statistics.median(self._seconds) * (self._epochs - row.epoch)
        print(
            f"epoch {row.epoch}/{self._epochs}: "
            f"loss {row.train_loss:.4f} (validation {row.validation_loss:.4f}), "
            f"accuracy {row.train_accuracy:.2%} (validation {row.validation_accuracy:.2%}), "
            f"{self._images / self._seconds[-1]:.0f} images/s, {left:.0f} s left",
            flush=True,
        )


def write_curves(history: Sequence[Epoch]) -> None:
    """Write the learning curves as a table."""
    files.write_csv("plots/training.csv", Epoch._fields, history)


def measure(
    network: torch.nn.Sequential, dataset: Dataset, normalization: Normalization
) -> dict[str, float]:
    """Count the weights and measure the trained network on each part, without augmentation.

    `generalization_gap` is the training minus the validation accuracy, a fraction.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    metrics: dict[str, float] = {
        "parameters": parameters,
        "size_mb": parameters * FLOAT_BYTES / 2**20,
    }
    device = next(network.parameters()).device
    for part in ("train", "validation", "test"):
        pixels, labels = (
            torch.from_numpy(getattr(dataset, f"{axis}_{part}")).to(device) for axis in "xy"
        )
        loss, accuracy = evaluate(network, pixels, labels, normalization)
        metrics |= {f"{part}_loss": loss, f"{part}_accuracy": accuracy}
    gap = metrics["train_accuracy"] - metrics["validation_accuracy"]
    return metrics | {"generalization_gap": gap}


def circumstances(network: torch.nn.Module, train: Train, earlier: float) -> dict[str, Any]:
    """Say what trained, and how long a run took from whose checkpoint this one went on."""
    device = next(network.parameters()).device
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {
        "device": device.type,
        "device_name": devices.describe(train.device),
        "precision": devices.precision(train.precision, device),
        "processes": train.processes,
        "gpu_peak_memory_mb": peak,
        "earlier_seconds": earlier,
    }
