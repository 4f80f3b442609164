"""What each choice of a recipe gains: short runs with one change at a time.

Trains on `data/dataset.npz` as it lies, with a preset's recipe, and judges on its validation
images; test images are not even read. Each finished run is a row of docs/ablation.csv, which
`inv docs` turns into the table of docs/training.md. A run that has its row is not repeated, and one
that was killed goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from powtwo.core import files
from powtwo.core.stages import code_digests, repeatable
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import of_model
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sidecar.schema import Params
from powtwo.tools import presets
from powtwo.tools.docs import ablation, benchmarks
from powtwo.tools.docs.ablation import BASE, CHANGES, ELSEWHERE, Row
from powtwo.training import devices
from powtwo.training.checkpoints import FOLDER, Checkpoints
from powtwo.training.history import Epoch
from powtwo.training.loop import TrainingError, fit
from powtwo.training.params import Train

ROOT = Path(__file__).resolve().parents[1]
DATA = Path("data/dataset.npz")


def main() -> None:
    options = _options()
    with one_line_errors("ablation"):
        run(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train with one change at a time.")
    parser.add_argument("--preset", default="cifar10-jpeg", help="whose recipe")
    parser.add_argument("--epochs", type=int, default=ablation.EPOCHS, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each")
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES),
                        metavar="CHANGE", help=f"some of: {', '.join(CHANGES)}")  # fmt: skip
    parser.add_argument(
        "--rows", type=Path, default=ROOT / "docs/ablation.csv", help="CSV file to add to"
    )
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Make every run that is not there yet, a seed after the other."""
    values = presets.parameters(options.preset, Path("params.yaml"), ROOT / "presets")
    dataset = _images(DATA)
    _check_images(options.preset, values.data.name)
    rows = benchmarks.read(options.rows, Row)
    changes = _that_change(values.train, options.changes)
    for seed in options.seeds:
        for change in changes:
            recipe = ablation.changed(values.train, change, options.epochs)
            row = _empty_row(options.preset, change, seed, recipe, _digest(values, recipe, dataset))
            row = row._replace(validation_images=len(dataset.y_validation))
            if not _is_there(row, rows, options.rows):
                trained = _train(row, values, recipe, dataset)
                benchmarks.add(options.rows, trained)
                rows = benchmarks.read(options.rows, Row)  # another process may add its own
                _checkpoints(row, recipe).remove()


def _images(path: Path) -> Dataset:
    """Read the training and validation images alone; the latter stand in for test images too."""
    with np.load(path, allow_pickle=False) as stored:  # reads an array when it is asked for
        arrays = [stored[f"{axis}_{part}"] for part in ("train", "validation") for axis in "xy"]
        classes = tuple(str(name) for name in stored["classes"])
    return Dataset(*arrays, *arrays[2:], classes=classes)


def _check_images(preset: str, wanted: str) -> None:
    """Refuse images of another source than the preset's: its rows would bear a false name."""
    metrics = Path("metrics/download.json")
    name = files.read_json(metrics)["name"] if metrics.is_file() else "no known source"
    if name != wanted:
        raise ValueError(
            f"{DATA}: is of {name}, and preset {preset} is for {wanted}; run `inv repro --preset "
            f"{preset} --targets download`"
        )


def _that_change(recipe: Train, wanted: Sequence[str]) -> list[str]:
    """Leave out, with a line, what the recipe does anyway."""
    base = ablation.changed(recipe, BASE, 1)
    same = [name for name in wanted if name != BASE and ablation.changed(recipe, name, 1) == base]
    if same:
        print(f"left out, as the recipe is so itself: {', '.join(same)}", flush=True)
    return [name for name in wanted if name not in same]


def _digest(values: Params, recipe: Train, dataset: Dataset) -> str:
    """Digest in 12 characters what a row depends on and no column has."""
    values_of_run = [
        recipe.model_dump(exclude=ELSEWHERE),
        values.model.model_dump(exclude_none=True),  # as before there were other networks
        values.data.normalize,
        *filter(None, (values.data.mean, values.data.std)),
    ]
    text = json.dumps([*values_of_run, dataset.sha256()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _empty_row(preset: str, change: str, seed: int, recipe: Train, digest: str) -> Row:
    precision = devices.precision(recipe.precision, torch.device(recipe.device))
    return Row(
        preset, change, recipe.epochs, seed, None, None, 0, digest, str(torch.__version__),
        precision, devices.describe(recipe.device), recipe.threads,
    )  # fmt: skip


def _is_there(row: Row, rows: Sequence[Row], path: Path) -> bool:
    """Tell whether a run was made.

    Raises:
        ValueError: where it was, but with another recipe or other images.
    """
    for other in rows:
        if other.title == row.title and other.recipe != row.recipe:
            raise ValueError(
                f"{path}: {row.preset}, change {row.change!r}, seed {row.seed}: is of another "
                "recipe or of other images; move the file away"
            )
    return row.run in {other.run for other in rows}


def _train(row: Row, values: Params, recipe: Train, dataset: Dataset) -> Row:
    """Make the run, as the stage train would, and return its row with the measures."""
    repeatable(row.seed, recipe.threads)
    network = of_model(values.model, dataset.shape, len(dataset.classes)).build()

    def report(history: Sequence[Epoch]) -> None:
        last = history[-1]
        print(f"{row.change}, seed {row.seed}: epoch {last.epoch}/{recipe.epochs}: "
              f"validation {last.validation_accuracy:.2%}", flush=True)  # fmt: skip

    try:
        result = fit(
            network, dataset, Normalization.of(values.data, dataset.x_train), recipe,
            seed=row.seed, on_epoch=report, checkpoints=_checkpoints(row, recipe),
        )  # fmt: skip
    except TrainingError as error:
        print(f"{row.change}, seed {row.seed}: {error}", flush=True)
        return row
    last = result.history[-1]
    return row._replace(
        validation_accuracy=last.validation_accuracy, validation_loss=last.validation_loss
    )


def _checkpoints(row: Row, recipe: Train) -> Checkpoints:
    """Name all that the bytes of a run depend on."""
    fingerprint = code_digests("train") | {
        "the run": repr(row),
        "params.yaml: train": repr(recipe),
    }
    return Checkpoints(fingerprint, FOLDER / "ablation")


if __name__ == "__main__":
    main()
