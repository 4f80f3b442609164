"""What each choice of a recipe earns: the changes to try, the rows they give, and their table.

`benchmarks/ablation.py` runs the changes and writes a row a run; `inv docs` writes the tables of
docs/training.md from them. Only training and validation images are ever read. For runs of a
preset's own length, what is published of it is the run without a change: the stage `train` gives
the same bytes.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from powtwo.tools import presets, published
from powtwo.tools.docs import csv_rows, markdown
from powtwo.training.params import Train

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "training.md"
ROWS = ROOT / "docs" / "ablation.csv"
EPOCHS = 16  # enough for all but augmentation, which is for longer runs
NONE_YET = """\
**The runs have not been made yet**, so no choice above is shown to earn its place: they are 13 runs
of 16 epochs for each seed. What is tested is that they run, on a handful of drawn images."""

_Change = Callable[[Train], dict[str, Any]]
CHANGES: dict[str, _Change] = {
    "none": lambda _: {},
    "no crop": lambda _: {"augment": {"crop": 0}},
    "constant padding": lambda _: {"augment": {"padding": "constant"}},
    "random flip": lambda _: {"augment": {"flip": "random"}},
    "no flip": lambda _: {"augment": {"flip": "none"}},
    "no cutout": lambda _: {"augment": {"cutout": 0}},
    "no label smoothing": lambda _: {"label_smoothing": 0.0},
    "plain momentum": lambda _: {"nesterov": False},
    "decay on all": lambda _: {"decay": "all"},
    "cosine": lambda _: {"schedule": "cosine"},
    "no weight average": lambda _: {"average": 0.0},
    "half the rate": lambda recipe: {"learning_rate": recipe.learning_rate / 2},
    "double the rate": lambda recipe: {"learning_rate": recipe.learning_rate * 2},
}
BASE = "none"
ELSEWHERE = {"epochs", "patience", "precision", "device", "threads", "processes"}  # columns, or set


class Row(NamedTuple):
    """A finished run. Measures are of its last epoch, and empty where its loss was no number."""

    preset: str
    change: str
    epochs: int
    seed: int
    validation_accuracy: float | None  # fraction
    validation_loss: float | None  # nats
    validation_images: int
    recipe: str  # digest of the recipe, the network and the images
    torch: str
    precision: str
    processor: str
    threads: int

    @property
    def beside(self) -> tuple[int, str, str, str, int]:
        """What two runs share whose difference is that of their recipes."""
        return self.seed, self.torch, self.precision, self.processor, self.threads

    @property
    def title(self) -> tuple[str, str, int, int]:
        """What was run, wherever it was."""
        return self[:4]

    @property
    def run(self) -> tuple[Any, ...]:
        """What names the run: no two rows have the same."""
        return self.title, self.beside


def changed(recipe: Train, change: str, epochs: int) -> Train:
    """Return the recipe of a run: of so many epochs, never cut short, and with one change."""
    values = recipe.model_dump() | {"epochs": epochs, "patience": 0, "processes": 1}
    update = CHANGES[change](recipe)
    augment = values["augment"] | update.pop("augment", {})
    return Train.model_validate(values | {"augment": augment} | update)


def read(path: Path = ROWS) -> list[Row]:
    """Read rows, as `csv_rows.read` does."""
    return csv_rows.read(path, Row)


def write(rows: Iterable[Row], path: Path = ROWS) -> None:
    """Write rows, whole or not at all."""
    csv_rows.write(path, Row, rows)


def with_published(rows: Sequence[Row], root: Path = ROOT) -> list[Row]:
    """Add the published runs of the presets and lengths that rows are of, where they miss `none`.

    Left out are those of another recipe than the preset has now.
    """
    kinds, there = {(row.preset, row.epochs) for row in rows}, {row.run for row in rows}
    found = [_published(root, run) for run in published.read(root)]
    known = [row for row in found if row and (row.preset, row.epochs) in kinds]
    return [*rows, *(row for row in known if row.run not in there)]


def _published(root: Path, run: published.Run) -> Row | None:
    """Return the row of a published run.

    None where its recipe is no preset's, it was cut short, or it was not of one process, which
    every run of the ablation is.
    """
    if run.recipe not in presets.names(root / "presets") or run.log.get("processes") != 1:
        return None
    folder = root / published.RESULTS / run.name
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    recipe = Train.model_validate(values["train"])
    wanted = presets.parameters(run.recipe, root / "params.yaml", root / "presets").train
    if recipe.model_dump(exclude=ELSEWHERE) != wanted.model_dump(exclude=ELSEWHERE):
        return None
    with (folder / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    if int(last["epoch"]) != recipe.epochs:
        return None
    return Row(
        run.recipe, BASE, recipe.epochs, values["seed"], float(last["validation_accuracy"]),
        float(last["validation_loss"]), run.download["validation_images"], "", run.log["torch"],
        run.log["precision"], run.log["device_name"], recipe.threads,
    )  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return Markdown: a table for each preset and number of epochs, or how to get one."""
    if not rows:
        return NONE_YET
    kinds = dict.fromkeys((row.preset, row.epochs) for row in rows)
    return "\n\n".join(_one_table([row for row in rows if (row.preset, row.epochs) == kind])
                       for kind in kinds)  # fmt: skip


def _one_table(rows: Sequence[Row]) -> str:
    base = {row.beside: row.validation_accuracy for row in rows if row.change == BASE}
    head = ["change", "validation accuracy", "against none, points", "validation loss", "runs"]
    made = {name: [row for row in rows if row.change == name] for name in CHANGES}
    lines = markdown.table(head, (
        [change, *_cells(runs, base), str(len(runs))] for change, runs in made.items() if runs
    ))  # fmt: skip
    missing = [change for change, runs in made.items() if not runs]
    note = ["", f"Not run yet, or no change to this recipe: {', '.join(missing)}."]
    return "\n".join([_sentence(rows), "", *lines, *(note if missing else [])])


def _sentence(rows: Sequence[Row]) -> str:
    first = rows[0]
    machines = dict.fromkeys(
        f"PyTorch {row.torch}, {row.precision}, {row.processor}, {row.threads} threads"
        for row in rows
    )
    return (
        f"`{first.preset}` with {first.epochs} epochs, judged after the last on "
        f"{first.validation_images:,} validation images; mean over the runs, one a seed "
        "and machine, and the standard deviation where there are several. Differences are between "
        "runs of the same seed on the same kind of machine. "
        f"{_noise(rows)}On {'; '.join(machines)}."
    )


def _noise(rows: Sequence[Row]) -> str:
    """Say how far an accuracy moves with the draw of the images alone."""
    known = [row.validation_accuracy for row in rows if row.change == BASE]
    accuracies = [accuracy for accuracy in known if accuracy is not None]
    if not accuracies:
        return ""
    p = statistics.mean(accuracies)
    points = 100 * math.sqrt(p * (1 - p) / rows[0].validation_images)
    return f"Other images alone would move an accuracy by {points:.2f} points (σ). "


def _cells(runs: Sequence[Row], base: Mapping[tuple[Any, ...], float | None]) -> list[str]:
    """Return accuracy, difference and loss of one change; a run that diverged has none."""
    ended = [row for row in runs if row.validation_accuracy is not None]
    if len(ended) < len(runs):
        return [f"{len(runs) - len(ended)} diverged", "–", "–"]
    accuracies = [100 * (row.validation_accuracy or 0) for row in ended]
    pairs = [(row.validation_accuracy, base.get(row.beside)) for row in ended]
    apart = [100 * (mine - none) for mine, none in pairs if mine is not None and none is not None]
    losses = [row.validation_loss or 0 for row in ended]
    first = runs[0].change == BASE
    return [_mean(accuracies, ".2f", "%"), "–" if first else _mean(apart, "+.2f"),
            _mean(losses, ".4f")]  # fmt: skip


def _mean(values: Sequence[float], form: str, unit: str = "") -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{form}}{unit}{spread}"
