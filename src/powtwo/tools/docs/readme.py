"""What README shows of results: the sentence it opens with, and the tables of schemes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from powtwo.core import files
from powtwo.report.columns import MAIN_COLUMNS, MISSING, shown
from powtwo.tools import published
from powtwo.tools.docs import markdown
from powtwo.tools.docs.markdown import mean_deviation
from powtwo.tools.published import Run

HEADLINE = Path("results/cifar10-jpeg")  # the run whose picture README opens with
# Accuracy-drop targets in points, by the beginning of a scheme's name; set before any was measured.
TARGETS = {"w8a8": 0.1, "w6a6": 0.1, "w4a8": 1.0, "shift": 1.0, "w4a4": 2.5}
SEED_COLUMNS = {
    "accuracy": ("accuracy", ".2%"),
    "on validation": ("validation_accuracy", ".2%"),
    "drop, points": ("drop_points", ".2f"),
}


def headline(folder: Path) -> str:
    """Return what the scheme that validation images choose costs and saves, of a published run."""
    runs = _of_recipe(folder)
    scheme, first = published.choose(runs), runs[0]
    ratio, drop = (
        mean_deviation(published.column(runs, scheme, figure), form)
        for figure, form in (("ratio", ".1f"), ("drop_points", ".2f"))
    )
    accuracy = mean_deviation([run.float_accuracy for run in runs], ".2%")
    low, high = (first.schemes[scheme][f"drop_points_{end}"] for end in ("low", "high"))
    spread = (
        f"95 % interval {low:.2f} to {high:.2f}" if len(runs) == 1
        else f"mean ± sample standard deviation of {len(runs)} trainings"
    )  # fmt: skip
    return (
        f"**Integer-only inference loses {drop} points of {accuracy} top-1 accuracy and needs "
        f"{ratio} times less energy for arithmetic than FP32** ({spread}, "
        f"{first.download['test_images']:,} test images): the scheme `{scheme}` of "
        f"[{folder.name}](results/{folder.name}/params.yaml), by the price table "
        f"`{first.prices}`. {_with_memory(first, scheme)}"
    )


def work_tree(root: Path) -> str:
    """Return the table of schemes of the run in the work tree."""
    return "\n".join(_schemes(published.load(root), "The committed run"))


def published_schemes(folder: Path) -> str:
    """Return the tables of schemes of a published run and its other seeds."""
    runs = _of_recipe(folder)
    lines = [*_schemes(runs[0], f"`{folder.name}`"), *_training_seeds(runs), *_targets(runs)]
    return "\n".join(lines)


def _of_recipe(folder: Path) -> list[Run]:
    """Read a published run and its other seeds, in this order."""
    others = published.other_seeds(folder.parents[1], folder.name)
    return [published.load(path) for path in (folder, *others)]


def _with_memory(run: Run, scheme: str) -> str:
    """Return what the ratio becomes where memory counts; nothing where it has no prices."""
    energy = files.read_json(run.folder / f"metrics/energy/{scheme}.json")
    if not energy["memory"]:
        return ""
    assumed = (run.prices, "weights_in", energy["memory"]["weights_in"])
    rows = energy["sensitivity"]
    row = next(row for row in rows if (row["table"], row["varied"], row["value"]) == assumed)
    return (
        f"Arithmetic and memory together take {row['ratio']:.1f} times less, with weights in "
        f"`{row['weights_in']}` and activations in `{row['activations_in']}`."
    )


def _schemes(run: Run, name: str) -> list[str]:
    """Return every scheme of a run, with a sentence that says what is compared."""
    train, validation, test = published.images(run)
    sentence = (
        f"{name}: `{run.download['name']}`, {train} training, {validation} "
        f"validation and {test} test images. The float network has "
        f"{run.train['parameters']:,} parameters and {run.float_accuracy:.2%} test accuracy. Each "
        "scheme runs it on integers alone. The p-value is that of McNemar's test on the same "
        "images; the ratio is the energy of FP32 arithmetic over the scheme's, by the price table "
        f"`{run.prices}`. Selected on the validation set (one-standard-error rule): "
        f"`{published.choose([run])}`."
    )
    rows = {
        scheme: [shown(row[column.name], column.form) for column in MAIN_COLUMNS]
        for scheme, row in run.schemes.items()
    }
    return [sentence, "", *_scheme_table([column.title for column in MAIN_COLUMNS], rows)]


def _training_seeds(runs: Sequence[Run]) -> list[str]:
    """Return how accuracies differ by training; nothing where it ran but once."""
    if len(runs) == 1:
        return []
    floats = mean_deviation([run.float_accuracy for run in runs], ".2%")
    validation = mean_deviation([run.train["validation_accuracy"] for run in runs], ".2%")
    rows = {"float network": [floats, validation, MISSING]}
    for scheme in runs[0].schemes:
        rows[scheme] = [
            mean_deviation(published.column(runs, scheme, figure), form)
            for figure, form in SEED_COLUMNS.values()
        ]
    return [
        "",
        f"Trained from {len(runs)} seeds, mean ± sample standard deviation; the table above is of "
        f"`{runs[0].folder.name}`. Selected by means on the validation set: "
        f"`{published.choose(runs)}`.",
        "",
        *_scheme_table(list(SEED_COLUMNS), rows),
    ]


def _targets(runs: Sequence[Run]) -> list[str]:
    """Return which schemes meet the accuracy-drop target of their kind."""
    rows = []
    for kind, target in TARGETS.items():
        drops = {
            name: fmean(published.column(runs, name, "drop_points"))
            for name in runs[0].schemes if name.startswith(kind)
        }  # fmt: skip
        met = [f"`{name}` {drop:.2f}" for name, drop in drops.items() if drop <= target]
        missed = [f"`{name}` {drop - target:.2f}" for name, drop in drops.items() if drop > target]
        rows.append(
            [f"`{kind}…`", str(target), ", ".join(met) or MISSING, ", ".join(missed) or MISSING]
        )
    mean = f", mean of {len(runs)} trainings" if len(runs) > 1 else ""
    titles = ["schemes", "target", "met", "missed, by"]
    return ["", f"Accuracy-drop targets and drops, in points{mean}:", "",
            *markdown.table(titles, rows, words=(0, 2, 3))]  # fmt: skip


def _scheme_table(titles: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    names = {name: name if " " in name else f"`{name}`" for name in rows}
    return markdown.table(
        ["scheme", *titles], [[names[name], *cells] for name, cells in rows.items()]
    )
