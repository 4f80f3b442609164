"""Stage train: images in, the float network of the best epoch out, and its learning curves."""

import time
from collections.abc import Callable

import torch

from powtwo import figures, files, training
from powtwo.datasets import Dataset
from powtwo.history import Epoch
from powtwo.network import Architecture, Checkpoint
from powtwo.normalization import Normalization
from powtwo.stage import stage

FLOAT_BYTES = 4  # of a weight in FP32


def main() -> None:
    """Run the stage."""
    with stage("train", "seed", "data.normalize", "model", "train", fix_threads=True) as params:
        dataset = Dataset.load("data/dataset.npz")
        normalization = Normalization.of(params.data.normalize, dataset.x_train)
        layout, hidden = tuple(params.model.layout), tuple(params.model.hidden)
        architecture = Architecture(layout, hidden, len(dataset.classes))
        network = architecture.build()
        report = reporter(params.train.epochs, len(dataset.y_train))
        fit = training.fit(
            network, dataset, normalization, params.train, seed=params.seed, on_epoch=report
        )

        metrics = measure(network, dataset, normalization)
        metrics |= {"epochs_run": len(fit.history), "best_epoch": fit.best_epoch}
        with files.atomic("models/float.safetensors") as path:
            Checkpoint(architecture, normalization, fit.weights).save(path)
        files.write_json("metrics/train.json", metrics)
        files.write_csv("plots/training.csv", Epoch._fields, fit.history)
        figures.training_curves([row._asdict() for row in fit.history], "plots/training.png")


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


def reporter(epochs: int, images: int) -> Callable[[Epoch], None]:
    """Make what prints a line an epoch; speed and time stay out of the metrics."""
    started = time.perf_counter()

    def report(row: Epoch) -> None:
        seconds = (time.perf_counter() - started) / row.epoch
        print(
            f"epoch {row.epoch}/{epochs}: "
            f"loss {row.train_loss:.4f} (validation {row.validation_loss:.4f}), "
            f"accuracy {row.train_accuracy:.2%} (validation {row.validation_accuracy:.2%}), "
            f"{images / seconds:.0f} images/s, {seconds * (epochs - row.epoch):.0f} s left",
            flush=True,
        )

    return report


if __name__ == "__main__":
    main()
