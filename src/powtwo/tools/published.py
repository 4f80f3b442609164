"""Runs read back from their files: those published in `results/`, and the one in the work tree.

Only what tables need is read, so that a run stays readable when stages measure more.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from powtwo.core import files
from powtwo.report import results

RESULTS = Path("results")
RUN = "run.json"
SEEDS = "seeds.csv"  # what accuracies owe to the images that calibrated, by `inv bench seeds`
LATER = {  # keys that older runs lack, and what every one of them had
    "data.size": 32, "data.channels": 3, "data.resize": "crop", "data.mean": None, "data.std": None,
}  # fmt: skip
MAY_DIFFER = {"seed", "data.path"}  # between the seeds of one recipe

Row = Mapping[str, float | None]  # a line of plots/schemes.csv; None where a price is missing


@dataclass(frozen=True)
class Run:
    """What a run measured."""

    folder: Path
    info: Mapping[str, Any]  # run.json; empty for the run in the work tree
    download: Mapping[str, Any]  # metrics/download.json
    train: Mapping[str, Any]  # metrics/train.json
    prices: str  # the price table that all schemes are compared by
    float_accuracy: float  # on test images
    schemes: Mapping[str, Row]  # in the order of params.yaml

    @property
    def log(self) -> Mapping[str, Any]:
        """Return what training ran on; nothing where that is not known."""
        return self.info["stages"]["train"] or {}


def recipe(name: str) -> str:
    """Return the name that a run shares with those of other seeds."""
    return re.sub(r"-seed[0-9]+$", "", name)


def load(folder: Path) -> Run:
    """Read the run in a folder that has its `metrics/` and `plots/`."""
    with (folder / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        schemes = {row.pop("scheme"): row for row in csv.DictReader(file)}
    if not schemes:
        raise ValueError("plots/schemes.csv: has no scheme")

    def metrics(name: str) -> Any:
        return files.read_json(folder / f"metrics/{name}.json")

    return Run(
        folder=folder,
        info=files.read_json(folder / RUN) if (folder / RUN).is_file() else {},
        download=metrics("download"),
        train=metrics("train"),
        prices=metrics("compare")["energy_table"],
        float_accuracy=metrics(f"evaluate/{next(iter(schemes))}")["float_accuracy"],
        schemes={
            name: {key: float(value) if value else None for key, value in row.items()}
            for name, row in schemes.items()
        },
    )


def folders(root: Path) -> list[Path]:
    """List the published runs, those of one recipe together, that of its own name first."""
    runs = [path for path in (root / RESULTS).glob("[!.]*") if path.is_dir()]
    return sorted(runs, key=lambda path: (recipe(path.name), path.name))


def other_seeds(root: Path, name: str) -> list[Path]:
    """List the published runs of a run's recipe that have another name."""
    others = [path for path in folders(root) if path.name != name]
    return [path for path in others if recipe(path.name) == recipe(name)]


def choose(runs: Sequence[Run]) -> str:
    """Name the scheme that means over the runs of a recipe choose, by validation images alone."""
    rows = {
        name: {
            "validation_accuracy": mean(column(runs, name, "validation_accuracy")),
            "energy_uj": None if row["energy_uj"] is None else
                         mean(column(runs, name, "energy_uj")),
        }
        for name, row in runs[0].schemes.items()
    }  # fmt: skip
    return results.choose(rows, runs[0].download["validation_images"])


def as_configured(run: Run, scheme: str) -> Mapping[str, str]:
    """Return a scheme's row of plots/energy-sensitivity.csv with the run's own assumptions.

    The first rows vary the zero point and nothing else, so they name the run's memory levels.
    Without a memory table there are no others, and the first one is returned.
    """
    with (run.folder / "plots/energy-sensitivity.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file)
                if (row["scheme"], row["table"]) == (scheme, run.prices)]  # fmt: skip
    if not rows:
        raise ValueError(f"plots/energy-sensitivity.csv: has no {scheme} in the table {run.prices}")
    own = ("weights_in", rows[0]["weights_in"])
    return next((row for row in rows if (row["varied"], row["value"]) == own), rows[0])


def column(runs: Sequence[Run], scheme: str, name: str) -> list[Any]:
    """Return a figure of a scheme in each run; None where a run did not measure it."""
    return [run.schemes[scheme].get(name) for run in runs]


def known(runs: Sequence[Run], name: str) -> bool:
    """Tell whether every run has a figure of some scheme."""
    return all(any(row.get(name) is not None for row in run.schemes.values()) for run in runs)


def images(run: Run) -> list[str]:
    """Return how many images trained, validated and tested."""
    return [f"{run.download[f'{part}_images']:,}" for part in ("train", "validation", "test")]


def check_recipe(folder: Path, others: Sequence[Path]) -> None:
    """Refuse runs of one recipe that differ in more than the seed, or not even in that.

    Args:
        folder: has the parameters and metrics of a run.
        others: the folders of the same recipe's other runs.

    Raises:
        ValueError: naming the other run and what differs.
    """
    for other in others:
        differ = differences(folder, other)
        if wrong := sorted(differ - MAY_DIFFER):
            raise ValueError(
                f"{RESULTS.name}/{other.name}: has another {wrong[0]}; runs named alike but for "
                "-seedN may differ in the seed alone: choose another name"
            )
        if "seed" not in differ:
            raise ValueError(
                f"{RESULTS.name}/{other.name}: has seed {parameters(folder)['seed']} too; change "
                "seed in params.yaml and run `inv repro`"
            )


def differences(one: Path, other: Path) -> set[str]:
    """Return the keys of the parameters that differ between two runs, and "images" if those do."""
    own, theirs = _identity(one), _identity(other)
    return {key for key in own | theirs if own.get(key) != theirs.get(key)}


def is_of_run(seeds: Path, folder: Path) -> bool:
    """Tell whether a table of calibration seeds has the run's figures in its own seed's column."""
    column, schemes = f"seed_{parameters(folder)['calibrate.seed']}", load(folder).schemes
    with seeds.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            own = schemes[row["scheme"]][row["metric"]] if row["scheme"] in schemes else None
            if own is None or column not in row or float(row[column]) != own:
                return False
    return True


def parameters(folder: Path) -> dict[str, Any]:
    """Return every parameter of a run by its dotted key, such as `train.epochs`."""
    values = yaml.safe_load(files.read_text(folder / "params.yaml"))
    if not isinstance(values, dict):
        raise ValueError("params.yaml: has no keys")
    return LATER | flat(values)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted keys."""
    entries: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict)
        entries |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return entries


def _identity(folder: Path) -> dict[str, Any]:
    """Return what makes a run: its parameters and images."""
    download = files.read_json(folder / "metrics/download.json")
    return {**parameters(folder), "images": download["sha256"]}
