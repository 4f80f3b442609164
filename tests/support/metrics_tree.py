"""A made-up repository of metrics and plots, as the stages would write it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from powtwo.core import files
from powtwo.energy import metrics as energy_metrics
from powtwo.energy.params import Energy
from powtwo.evaluation import code_histogram, intervals, layer_quality, sensitivity
from powtwo.evaluation.code_histogram import CodeHistogram
from powtwo.integer.shapes import LayerShape
from powtwo.tools.docs import energy_page

CLASSES = tuple("0123456789")
IMAGES = 1000
PRICED = Energy(table="lab", zero_point="per_use", all_widths="qtools", memory="horowitz")
EPOCH = ("epoch", "learning_rate", "train_loss", "validation_loss", "train_accuracy",
         "validation_accuracy")  # fmt: skip
LAYER = (*layer_quality.COLUMNS, *sensitivity.COLUMNS)


def write(
    root: Path,
    schemes: Sequence[str],
    classes: Sequence[str] = CLASSES,
    unpriced: Sequence[str] = (),
) -> None:
    """Write metrics/ and plots/ for the schemes; the same names give the same values.

    The energy table lacks a price for the schemes `unpriced`.
    """
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
    for scheme in unpriced:
        _unprice(root, scheme)


def _unprice(root: Path, scheme: str) -> None:
    path = root / f"metrics/energy/{scheme}.json"
    found = files.read_json(path)
    found |= {"integer_uj": None, "ratio": None, "last_integer_pj": None}
    found |= {"reason": "no price for <int4x8_multiply>"}
    for convention in found["conventions"].values():
        convention |= {"integer_uj": None, "ratio": None}
    files.write_json(path, found)
    path = root / f"plots/energy/{scheme}.csv"
    text = path.read_text(encoding="utf-8")
    files.write_text(path, text.replace(",0.2,176947.2\n", ",,\n"))


def forget_sensitivity(root: Path, schemes: Sequence[str]) -> None:
    """Leave the schemes as `evaluate.sensitivity_images: 0` does."""
    for scheme in schemes:
        path = root / f"metrics/evaluate/{scheme}.json"
        kept = {key: value for key, value in files.read_json(path).items()
                if not key.startswith("sensitivity_")}  # fmt: skip
        files.write_json(path, kept | {"sensitivity_images": 0})
        path = root / f"plots/layers/{scheme}.csv"
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        blank = [",".join([*row.split(",")[:-2], "", ""]) for row in rows]
        files.write_text(path, "\n".join([head, *blank, ""]))


def _layer(layer: LayerShape, sqnr: float, last: bool) -> tuple[object, ...]:
    """Make a row of plots/layers; shifts that differ by channel in one, no codes in the last."""
    draw = random.Random(layer.index)
    bits, exponent, *shifts = (None,) * 4 if last else (8, -4, 7, 9 if layer.index == 3 else 7)
    return (layer.index, layer.kind, sqnr, draw.uniform(30, 40),
            None if last else draw.random() / 100, draw.random() / 1000, 8, bits,
            -10, -8 if layer.index == 3 else -10, exponent, *shifts,
            draw.randrange(90, 100) / 100, draw.randrange(90, 100) / 100)  # fmt: skip


def _histograms(layers: Sequence[LayerShape]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of plots/histograms, a wide bell for each tensor."""
    draw = random.Random(0)
    for layer in layers:
        for tensor, low, high in (("weight", -127, 127), ("output", -128, 127)):
            if tensor == "output" and layer is layers[-1]:
                continue
            histogram = CodeHistogram(low, high)
            steps = [draw.gauss(0, 60) for _ in range(200)]
            histogram.add(torch.tensor(steps, dtype=torch.float64))
            for row in histogram.rows():
                yield layer.index, tensor, *row


def _write_scheme(
    root: Path, scheme: str, draw: random.Random, right: int, classes: Sequence[str]
) -> None:
    gained, lost = draw.randrange(4), draw.randrange(8)
    correct = right + gained - lost
    layers = energy_page.lab_layers()
    prices = energy_metrics.load_prices(PRICED)
    sqnr = [_layer(layer, draw.uniform(12, 40), layer is layers[-1]) for layer in layers]
    files.write_json(root / f"metrics/convert/{scheme}.json", {
        "size_mb": 1.4125, "min_shift": 4, "max_shift": 11, "accumulator_bits": 21,
        "clipped_weights": draw.randrange(99),
    })  # fmt: skip
    low, high = intervals.of_fraction(correct, IMAGES)
    least, most = intervals.of_paired_difference(lost, gained, IMAGES)
    files.write_json(root / f"metrics/evaluate/{scheme}.json", {
        "test_images": IMAGES, "float_accuracy": right / IMAGES, "accuracy": correct / IMAGES,
        "validation_images": 400, "validation_accuracy": (400 - len(scheme) % 9) / 400,
        "accuracy_low": low, "accuracy_high": high,
        "drop_points_low": 100 * least, "drop_points_high": 100 * most,
        "sensitivity_images": 100, "sensitivity_float_accuracy": 0.98,
        "sensitivity_accuracy": 0.97, "drop_points": (lost - gained) / 10,
        "agreement": 1 - (gained + lost) / IMAGES,
        "gained": gained, "lost": lost, "p_value": draw.random(),
        "min_sqnr_db": min(row[2] for row in sqnr),
    })  # fmt: skip
    metrics = energy_metrics.scheme_metrics(layers, prices)
    files.write_json(root / f"metrics/energy/{scheme}.json", metrics)
    rows = energy_metrics.term_rows(layers, prices)
    files.write_csv(root / f"plots/energy/{scheme}.csv", energy_metrics.TERM_COLUMNS, rows)
    files.write_csv(
        root / f"plots/conventions/{scheme}.csv",
        energy_metrics.CONVENTION_COLUMNS, energy_metrics.convention_rows(layers, prices),
    )  # fmt: skip
    files.write_csv(root / f"plots/layers/{scheme}.csv", LAYER, sqnr)
    files.write_csv(
        root / f"plots/histograms/{scheme}.csv", code_histogram.COLUMNS, _histograms(layers)
    )
    actual = [draw.choice(classes) for _ in range(IMAGES)]
    wrong = set(draw.sample(range(IMAGES), IMAGES - correct))
    guessed = [
        draw.choice([other for other in classes if other != name]) if index in wrong else name
        for index, name in enumerate(actual)
    ]
    pairs = zip(actual, guessed, strict=True)
    files.write_csv(root / f"plots/predictions/{scheme}.csv", ("actual", "predicted"), pairs)
