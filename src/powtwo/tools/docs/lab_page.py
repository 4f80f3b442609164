"""The generated passages of docs/lab.md: layers, curves, recipes, the energy of the last layer."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

from powtwo.network.architecture import Architecture
from powtwo.tools import layers, published
from powtwo.tools.docs import energy_page, markdown
from powtwo.tools.docs.energy_page import CLASSES, HIDDEN, LAYOUT
from powtwo.tools.published import Run
from powtwo.training.learning_rate import PLATEAU_PATIENCE

RECIPES = ("cifar10-jpeg-lab", "cifar10-jpeg-lab-adam")  # the lab's first and second
COURSE = {"cifar10-jpeg-lab": 0.8460, "cifar10-jpeg-lab-adam": 0.7225}  # its accuracy on CIFAR-10
KEYS = ("train.optimizer", "train.learning_rate", "train.momentum", "train.weight_decay",
        "train.schedule", "train.epochs", "train.patience", "train.label_smoothing",
        "train.augment.rotation", "train.augment.erasing")  # fmt: skip


def passages(root: Path) -> dict[str, Callable[[], str]]:
    """Return what makes the text between each pair of markers of docs/lab.md."""
    return {
        "layers": layer_table,
        "curves": partial(curves, root / published.RESULTS / RECIPES[0]),
        "recipes": partial(recipes, root),
        "adam": partial(adam, root / published.RESULTS / RECIPES[1]),
        "energy": lambda: "\n".join(energy_page.last_layer()),
    }


def layer_table() -> str:
    """Return the layers of the lab's network and their totals."""
    modules = list(layers.of_model(Architecture(LAYOUT, HIDDEN, CLASSES)))
    totals = [f"- {key}: {value}" for key, value in layers.totals(modules).items()]
    table = markdown.table(layers.TITLES, layers.cells(modules), words=(0, 1, 2))
    return "\n".join([*table, "", *totals])


def curves(folder: Path) -> str:
    """Return what a run's curves say of overfitting, from its numbers; nothing without the run."""
    if not folder.is_dir():
        return ""
    run, epochs = published.load(folder), _epochs(folder)
    above = [row["train_accuracy"] > row["validation_accuracy"] for row in epochs]
    parted = next((i for i in range(len(above)) if all(above[i:])), None)
    lowest = min(epochs, key=lambda row: row["validation_loss"])
    train, last = run.train, epochs[-1]
    parting = "never stays above" if parted is None else (
        f"stays above the validation accuracy from epoch {epochs[parted]['epoch']:.0f} of "
        f"{len(epochs)} on, although its images are augmented,"
    )  # fmt: skip
    return (
        f"`{folder.name}`: the training accuracy {parting} and ends at "
        f"{last['train_accuracy']:.2%} against {last['validation_accuracy']:.2%}. On plain images "
        f"the network kept, of epoch {train['best_epoch']}, has {train['train_accuracy']:.2%} "
        f"training and {train['validation_accuracy']:.2%} validation accuracy: a generalization "
        f"gap of {100 * train['generalization_gap']:.1f} points. It has learned the training "
        f"images nearly by heart, so it overfits. That does no harm to the validation loss, "
        f"whose lowest value, {lowest['validation_loss']:.3f}, comes in epoch "
        f"{lowest['epoch']:.0f}; the last is {last['validation_loss']:.3f}."
    )


def recipes(root: Path) -> str:
    """Return the lab's recipes side by side: options, and what they reached."""
    folders = [root / published.RESULTS / name for name in RECIPES]
    runs = [published.load(folder) for folder in folders if folder.is_dir()]
    if not runs:
        return ""
    parameters = [published.parameters(run.folder) for run in runs]
    rows = [[f"`{key}`", *(f"`{values[key]}`" for values in parameters)] for key in KEYS]
    rows += [[title, *map(cell, runs)] for title, cell in _REACHED.items()]
    return "\n".join(markdown.table(["", *(f"`{run.folder.name}`" for run in runs)], rows))


def adam(folder: Path) -> str:
    """Return why the course's run of its second recipe ended low, as far as a run here tells."""
    if not folder.is_dir():
        return ""
    run = published.load(folder)
    before = _epochs(folder)[: PLATEAU_PATIENCE + 2]  # whatever a plateau watches
    best = max(row["validation_accuracy"] for row in before)
    watched = (
        f"Nor is a plateau that watched the wrong quantity, such as accuracy without "
        f'`mode="max"`: it can lower the rate after epoch {len(before)} at the earliest, and by '
        f"then the network had {best:.2%} validation accuracy, which an early stop that "
        "keeps the best epoch does not lose. "
    )
    return (
        f"*Why did the course's Adam run end at {COURSE[folder.name]:.0%}?* Its notes do not say. "
        f"The same recipe to the letter ends here at {run.train['test_accuracy']:.2%} test "
        "accuracy, from one seed, on the same images saved as JPEG. So neither Adam nor its "
        "coupled weight decay "
        f"is why. {watched if best > COURSE[folder.name] else ''}What is left is a guess: it took "
        "ten times as long as the SGD run, so it may have been cut short, or run on another "
        "machine with another setting that the notes do not name."
    )


_REACHED: dict[str, Callable[[Run], str]] = {
    "epochs run, best": lambda run: f"{run.train['epochs_run']}, {run.train['best_epoch']}",
    "validation accuracy": lambda run: f"{run.train['validation_accuracy']:.2%}",
    "test accuracy": lambda run: f"{run.train['test_accuracy']:.2%}",
    "test loss, nats": lambda run: f"{run.train['test_loss']:.4f}",
    "generalization gap, points": lambda run: f"{100 * run.train['generalization_gap']:.1f}",
    "the course's test accuracy, on CIFAR-10": lambda run: f"{COURSE[run.folder.name]:.2%}",
}


def _epochs(folder: Path) -> list[dict[str, float]]:
    with (folder / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
