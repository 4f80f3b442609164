"""A made-up repository of metrics and plots, as the stages would write it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from powtwo import energy, energy_metrics, energy_page, files
from powtwo.params import Energy

CLASSES = tuple("0123456789")
IMAGES = 1000
PRICED = Energy(table="lab", zero_point="per_use", all_widths="qtools", memory="horowitz")
EPOCH = ("epoch", "learning_rate", "train_loss", "validation_loss", "train_accuracy",
         "validation_accuracy")  # fmt: skip


def write(root: Path, schemes: Sequence[str], classes: Sequence[str] = CLASSES) -> None:
    """Write metrics/ and plots/ for the schemes; the same names give the same values."""
    draw = random.Random(0)
    right = IMAGES - 18
    files.write_json(root / "metrics/train.json", {
        "parameters": 1470762, "size_mb": 5.6105, "epochs_run": 12, "best_epoch": 11,
        "train_loss": 0.01, "train_accuracy": 0.9961, "validation_loss": 0.05,
        "validation_accuracy": 0.9875, "test_loss": 0.06, "test_accuracy": right / IMAGES,
        "generalization_gap": 0.0086,
    })  # fmt: skip
    epochs = [(i, 0.1 / i, 2.2 / i, 1.9 / i + 0.04, 1 - 0.6 / i**1.5, 1 - 0.5 / i**1.4)
              for i in range(1, 13)]  # fmt: skip
    files.write_csv(root / "plots/training.csv", EPOCH, epochs)
    for scheme in schemes:
        _write_scheme(root, scheme, draw, right, classes)


def _write_scheme(
    root: Path, scheme: str, draw: random.Random, right: int, classes: Sequence[str]
) -> None:
    gained, lost = draw.randrange(4), draw.randrange(8)
    correct = right + gained - lost
    layers = energy_page.lab_layers()
    prices = energy_metrics.load(PRICED)
    sqnr = [(layer.index, layer.kind, draw.uniform(12, 40)) for layer in layers]
    files.write_json(root / f"metrics/convert/{scheme}.json", {
        "size_mb": 1.4125, "min_shift": 4, "max_shift": 11, "accumulator_bits": 21,
        "clipped_weights": draw.randrange(99),
    })  # fmt: skip
    files.write_json(root / f"metrics/evaluate/{scheme}.json", {
        "test_images": IMAGES, "float_accuracy": right / IMAGES, "accuracy": correct / IMAGES,
        "validation_images": 400, "validation_accuracy": (400 - len(scheme) % 9) / 400,
        "drop_points": (lost - gained) / 10, "agreement": 1 - (gained + lost) / IMAGES,
        "gained": gained, "lost": lost, "p_value": draw.random(),
        "min_sqnr_db": min(row[2] for row in sqnr),
    })  # fmt: skip
    metrics = energy_metrics.metrics(layers, prices)
    files.write_json(root / f"metrics/energy/{scheme}.json", metrics)
    rows = energy_metrics.rows(layers, prices)
    files.write_csv(root / f"plots/energy/{scheme}.csv", energy.COLUMNS, rows)
    files.write_csv(root / f"plots/layers/{scheme}.csv", ("layer", "kind", "sqnr_db"), sqnr)
    actual = [draw.choice(classes) for _ in range(IMAGES)]
    wrong = set(draw.sample(range(IMAGES), IMAGES - correct))
    guessed = [
        draw.choice([other for other in classes if other != name]) if index in wrong else name
        for index, name in enumerate(actual)
    ]
    pairs = zip(actual, guessed, strict=True)
    files.write_csv(root / f"plots/predictions/{scheme}.csv", ("actual", "predicted"), pairs)
