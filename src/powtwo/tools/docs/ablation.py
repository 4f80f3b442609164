"""The gain of each choice of a recipe: the changes to try, the rows of their runs, their table.

`benchmarks/ablation.py` runs the changes and adds a row of docs/ablation.csv for each run. Rows of
`none` in a preset's own length are its published runs: the stage `train` gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from powtwo.tools.docs import markdown
from powtwo.tools.docs.markdown import mean_deviation
from powtwo.training.params import Train

EPOCHS = 16  # enough for all but augmentation, which is for longer runs
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


def table(rows: Sequence[Row]) -> str:
    """Return Markdown: a table for each preset and number of epochs."""
    if not rows:
        return "No run is kept yet: `./inv bench ablation` adds one for each change."
    kinds = dict.fromkeys((row.preset, row.epochs) for row in rows)
    return "\n\n".join(_one_table([row for row in rows if (row.preset, row.epochs) == kind])
                       for kind in kinds)  # fmt: skip


def _one_table(rows: Sequence[Row]) -> str:
    first = rows[0]
    base = {row.beside: row.validation_accuracy for row in rows if row.change == BASE}
    by_change = {name: [row for row in rows if row.change == name] for name in CHANGES}
    titles = ["change", "validation accuracy", "against none, points", "validation loss", "runs"]
    lines = markdown.table(titles, (
        [change, *_cells(runs, base), str(len(runs))] for change, runs in by_change.items() if runs
    ))  # fmt: skip
    machines = dict.fromkeys(
        f"PyTorch {row.torch}, {row.precision}, {row.processor}, {row.threads} threads"
        for row in rows
    )
    sentence = (
        f"`{first.preset}`, {first.epochs} epochs, {first.validation_images:,} validation images, "
        f"on {'; '.join(machines)}:"
    )
    return "\n".join([sentence, "", *lines])


def _cells(runs: Sequence[Row], base: Mapping[tuple[Any, ...], float | None]) -> list[str]:
    """Return accuracy, difference and loss of one change; a run that diverged has none."""
    accuracies = [row.validation_accuracy for row in runs if row.validation_accuracy is not None]
    losses = [row.validation_loss for row in runs if row.validation_loss is not None]
    if len(accuracies) < len(runs):
        return [f"{len(runs) - len(accuracies)} diverged", "–", "–"]
    pairs = zip(accuracies, (base.get(row.beside) for row in runs), strict=True)
    gains = [100 * (accuracy - none) for accuracy, none in pairs if none is not None]
    compared = gains and runs[0].change != BASE
    return [mean_deviation(accuracies, ".2%"), mean_deviation(gains, "+.2f") if compared else "–",
            mean_deviation(losses, ".4f")]  # fmt: skip
