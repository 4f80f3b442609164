"""Stage train: images in, the float network of the best epoch out, and its learning curves."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from powtwo import devices, figures, files, processes, training
from powtwo.datasets import Dataset
from powtwo.history import Epoch
from powtwo.network import Architecture, Checkpoint
from powtwo.normalization import Normalization
from powtwo.params import Params, Train
from powtwo.progress import Checkpoints
from powtwo.stage import fingerprint, note, stage

FLOAT_BYTES = 4  # of a weight in FP32
PAUSE = 5.0  # seconds between two drawings of the curves, for which a GPU would have to wait


def main() -> None:
    """Run the stage, in as many processes as `train.processes` says."""
    with stage("train", "seed", "data.normalize", "model", "train", fix_threads=True) as params:
        if processes.must_launch(params.train):
            processes.launch(params.train, Path(__file__))
            return
        with processes.joined(params.train) as group:
            checkpoints = run(params, group)
    checkpoints.remove()  # not before the stage has found its code and parameters unchanged


def run(params: Params, group: processes.Group) -> Checkpoints:
    """Train, and write every output; return where the run was kept meanwhile."""
    dataset = Dataset.load("data/dataset.npz")
    normalization = Normalization.of(params.data.normalize, dataset.x_train)
    layout, hidden = tuple(params.model.layout), tuple(params.model.hidden)
    architecture = Architecture(layout, hidden, len(dataset.classes))
    network = architecture.build()
    checkpoints = Checkpoints(marks(params, dataset), group=group)
    fit = training.fit(
        network, dataset, normalization, params.train, seed=params.seed,
        on_epoch=None if group.rank else Reporter(params.train.epochs, len(dataset.y_train)),
        on_resume=None if group.rank else show_curves, checkpoints=checkpoints, group=group,
    )  # fmt: skip
    note(**circumstances(network, params.train, fit.earlier))
    if group.rank == 0:
        metrics = measure(network, dataset, normalization)
        metrics |= {"epochs_run": len(fit.history), "best_epoch": fit.best_epoch}
        with files.atomic("models/float.safetensors") as path:
            Checkpoint(architecture, normalization, fit.weights).save(path)
        files.write_json("metrics/train.json", metrics)
        show_curves(fit.history)
    return checkpoints


def marks(params: Params, dataset: Dataset) -> dict[str, str]:
    """Name and hash all that the bytes of the weights depend on."""
    return fingerprint("seed", "data.normalize", "model", "train") | {
        "the images": dataset.sha256(),
        "PyTorch": torch.__version__,
        "the processor": devices.describe(params.train.device),
        # `auto` goes by instructions that the processor's kind does not tell.
        "the precision": devices.precision(
            params.train.precision, torch.device(params.train.device)
        ),
    }


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
        loss, accuracy = training.evaluate(network, pixels, labels, normalization)
        metrics |= {f"{part}_loss": loss, f"{part}_accuracy": accuracy}
    gap = metrics["train_accuracy"] - metrics["validation_accuracy"]
    return metrics | {"generalization_gap": gap}


class Reporter:
    """What tells about a run while it goes on; speed and time stay out of the metrics."""

    def __init__(self, epochs: int, images: int) -> None:
        """Begin to count the time of so many epochs of so many training images."""
        self._epochs, self._images = epochs, images
        self._seconds: list[float] = []  # of each epoch that this process has seen
        self._last = time.perf_counter()  # when the last one ended
        self._drawn = -math.inf  # when

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Write the curves, draw them now and then, and print a line about the last epoch."""
        write_curves(history)
        if time.perf_counter() - self._drawn > PAUSE:
            draw_curves(history)
            self._drawn = time.perf_counter()
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


def show_curves(history: Sequence[Epoch]) -> None:
    """Write and draw the learning curves; DVC has removed those of before a run was killed."""
    write_curves(history)
    draw_curves(history)


def write_curves(history: Sequence[Epoch]) -> None:
    """Write the learning curves as a table."""
    files.write_csv("plots/training.csv", Epoch._fields, history)


def draw_curves(history: Sequence[Epoch]) -> None:
    """Draw the learning curves."""
    figures.training_curves([row._asdict() for row in history], "plots/training.png")


if __name__ == "__main__":
    main()
