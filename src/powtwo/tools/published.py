"""The published runs of `results/`, read back, and the table that README shows of them.

Only what the table needs is read, so that a run stays readable when stages measure more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from powtwo.core import files
from powtwo.report import results
from powtwo.tools.docs import markdown

RESULTS = Path("results")
FILE = "run.json"
HEAD = ("run", "seeds", "images", "epochs", "float accuracy", "scheme", "accuracy",
        "drop, points", "p-value", "energy, µJ", "energy ratio", "prices",
        "training, s", "machine")  # fmt: skip
MAY_DIFFER = ("seed", "data.path")  # between the seeds of one recipe


@dataclass(frozen=True)
class Run:
    """A published run."""

    name: str
    about: Mapping[str, Any]  # run.json
    download: Mapping[str, Any]
    train: Mapping[str, Any]
    float_accuracy: float  # on test images
    schemes: Mapping[str, Mapping[str, Any]]  # compared in one table of prices
    prices: str  # the name of that table

    @property
    def recipe(self) -> str:
        """Return the name without `-seedN`."""
        return recipe(self.name)

    @property
    def log(self) -> Mapping[str, Any]:
        """Return what training ran on; nothing where that is not known."""
        return self.about["stages"]["train"] or {}

    @property
    def machine(self) -> str:
        """Return the machine that trained."""
        log = self.log
        if not log:
            return "unknown"
        if "device" not in log:  # of a run before stages said on what they ran
            return f"{log['cpus']} × {log['machine']}, PyTorch {log['torch']}"
        if log["device"] == "cuda":
            ran_on = f"{log['processes']} × {log['device_name']}"
        else:
            several = f"{log['processes']} processes of " if log["processes"] > 1 else ""
            threads = f"{log['threads']} thread{'s' if log['threads'] > 1 else ''}"
            ran_on = f"{several}{threads}, {log['processor'] or log['machine']}"
        return f"{ran_on}, {log['precision']}, PyTorch {log['torch']}"

    @property
    def seconds(self) -> float:
        """Return how long training took, what came before it was stopped and resumed included."""
        return float(self.log["seconds"]) + float(self.log.get("earlier_seconds", 0))


def recipe(name: str) -> str:
    """Return the name that a run shares with those of other seeds."""
    return re.sub(r"-seed[0-9]+$", "", name)


def read(root: Path) -> list[Run]:
    """Read every run under `results/`, those of one recipe together.

    Raises:
        ValueError: where runs of one recipe differ in more than the seed.
    """
    found = [load(path.parent) for path in sorted((root / RESULTS).glob(f"[!.]*/{FILE}"))]
    for run in found:
        check_same(root / RESULTS / run.name, siblings(root, run.name))
    return sorted(found, key=lambda run: (run.recipe, run.name))


def check_family(root: Path, name: str) -> None:
    """Refuse to publish the run at `root` under a name whose other seeds have other parameters."""
    check_same(root, siblings(root, name))


def check_same(folder: Path, others: Sequence[Path]) -> None:
    """Refuse runs of one recipe that differ in parameters or images, or not even in the seed.

    Raises:
        ValueError: naming the other run and what differs.
    """
    mine = _identity(folder)
    for other in others:
        theirs = _identity(other)
        differ = [key for key in sorted({*mine, *theirs}) if mine.get(key) != theirs.get(key)]
        wrong = [key for key in differ if key not in MAY_DIFFER]
        if wrong:
            raise ValueError(
                f"{RESULTS.name}/{other.name}: has another {wrong[0]}; runs named alike but for "
                "-seedN may differ in the seed alone: choose another name"
            )
        if "seed" not in differ:
            raise ValueError(
                f"{RESULTS.name}/{other.name}: has seed {mine['seed']} too; change seed in "
                "params.yaml and run `inv repro`"
            )


def siblings(root: Path, name: str) -> list[Path]:
    """List the folders of a recipe's other published runs."""
    paths = sorted(path.parent for path in (root / RESULTS).glob(f"[!.]*/{FILE}"))
    return [path for path in paths if path.name != name and recipe(path.name) == recipe(name)]


def table(root: Path) -> str:
    """Return Markdown about the published runs, nothing where there are none."""
    runs = read(root)
    if not runs:
        return ""
    recipes = groupby(runs, key=lambda run: run.recipe)
    lines = markdown.table(HEAD, [list(_cells(name, list(group))) for name, group in recipes])
    return "\n".join([
        "Published runs, each `results/NAME/` with its integer network. Images are for training, "
        "validation and testing; the scheme is the cheapest within a standard error of the best on "
        "validation images. Where a recipe ran from several seeds, means over the seeds choose it, "
        "figures are the mean ± the sample standard deviation, and each seed has its p-value; each "
        "folder has the network of the scheme that its own run would choose.",
        "", *lines,
    ])  # fmt: skip


def _cells(name: str, runs: Sequence[Run]) -> Iterator[str]:
    about = runs[0].download
    parts = (about[f"{part}_images"] for part in ("train", "validation", "test"))
    seconds = [run.seconds for run in runs if run.log]
    scheme = chosen(runs)
    compared = [run.schemes[scheme] for run in runs]
    yield f"`{name}`"
    yield str(len(runs))
    yield f"`{about['name']}`: " + ", ".join(f"{count:,}" for count in parts)
    yield spread([run.train["epochs_run"] for run in runs], ".4g")
    yield spread([run.float_accuracy for run in runs], ".2%")
    yield f"`{scheme}`"
    yield spread([row["accuracy"] for row in compared], ".2%")
    yield spread([row["drop_points"] for row in compared], ".2f")
    yield ", ".join(format(row["p_value"], ".2g") for row in compared)
    yield spread([row["energy_uj"] for row in compared], ".3f")
    yield spread([row["ratio"] for row in compared], ".2f")
    yield ", ".join(dict.fromkeys(f"`{run.prices}`" for run in runs))
    yield spread(seconds, ",.0f") if len(seconds) == len(runs) else "unknown"
    yield "; ".join(dict.fromkeys(run.machine for run in runs))


def chosen(runs: Sequence[Run]) -> str:
    """Name the scheme of a recipe: that of its run, or the one that means over its runs choose."""
    if len(runs) == 1:
        return str(runs[0].about["scheme"])
    rows = {
        name: {
            "validation_accuracy": mean(run.schemes[name]["validation_accuracy"] for run in runs),
            "energy_uj": None if row["energy_uj"] is None else
                         mean(run.schemes[name]["energy_uj"] for run in runs),
        }
        for name, row in runs[0].schemes.items()
    }  # fmt: skip
    return results.choose(rows, runs[0].download["validation_images"])


def spread(values: Sequence[float], form: str) -> str:
    """Return a value, or the mean ± the sample standard deviation of several."""
    shown = format(mean(values), form)
    return shown if len(set(values)) == 1 else f"{shown} ± {format(stdev(values), form)}"


def load(folder: Path) -> Run:
    """Read a run."""
    about = files.read_json(folder / FILE)
    names = ("download", "train", f"evaluate/{about['scheme']}", "compare")
    metrics = {name: files.read_json(folder / f"metrics/{name}.json") for name in names}
    download, train, evaluate, compare = metrics.values()
    accuracy, prices = float(evaluate["float_accuracy"]), str(compare["energy_table"])
    return Run(folder.name, about, download, train, accuracy, compare["schemes"], prices)


def _identity(folder: Path) -> dict[str, Any]:
    """Return every parameter by its dotted key, and which images they met."""
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    images = files.read_json(folder / "metrics/download.json")["sha256"]
    return {**_flat(values, ()), "images": images}


def _flat(values: Any, key: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(values, dict):
        return {".".join(key): values}
    return {
        name: value
        for child, inner in values.items()
        for name, value in _flat(inner, (*key, str(child))).items()
    }
