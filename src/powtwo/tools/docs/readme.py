"""What README shows of results: the sentence it opens with, and its tables, from their files."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from powtwo.core import files
from powtwo.report.columns import MAIN_COLUMNS, MISSING, shown
from powtwo.report.results import Results, SchemeResult, read
from powtwo.tools import published, publishing
from powtwo.tools.docs import markdown

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "README.md"
HEADLINE = Path("results/cifar10-jpeg")  # the run whose picture README opens with
# What schemes of a name were to lose at most, in points; set before any of them was measured.
GOALS = {"w8a8": 0.1, "w6a6": 0.1, "w4a8": 1.0, "shift": 1.0, "w4a4": 2.5}
_OF_SEEDS = (
    ("accuracy", "accuracy", ".2%"),
    ("on validation", "validation_accuracy", ".2%"),
    ("drop, points", "drop_points", ".2f"),
)


def results(root: Path = ROOT) -> str:
    """Return the run whose metrics lie under `root`, then its published runs, as tables."""
    about = files.read_json(root / "metrics/download.json")
    found = _read(root)
    committed = "\n".join([_sentence(about, found), "", *_table(found)])
    return "\n\n".join(filter(None, [committed, published.table(root)]))


def headline(root: Path = ROOT / HEADLINE) -> str:
    """Return what the picture proves: what the scheme that validation images choose costs."""
    runs = [published.load(folder) for folder in _family(root)]
    name, images = published.chosen(runs), runs[0].download["test_images"]
    rows = [run.schemes[name] for run in runs]
    ratio = published.spread([row["ratio"] for row in rows], ".1f")
    drop = published.spread([row["drop_points"] for row in rows], ".2f")
    accuracy = published.spread([run.float_accuracy for run in runs], ".2%")
    low, high = (rows[0][f"drop_points_{end}"] for end in ("low", "high"))
    doubt = (
        f"95 % interval {low:.2f} to {high:.2f}" if len(runs) == 1
        else f"mean ± sample standard deviation of {len(runs)} trainings"
    )  # fmt: skip
    (scheme,) = (scheme for scheme in _read(root).schemes if scheme.name == name)
    return (
        f"**With {ratio} times less energy for arithmetic than FP32, integers and shifts alone "
        f"lose {drop} points of {accuracy}** ({doubt}, {images:,} test images): the scheme "
        f"`{name}` of [{HEADLINE.name}]({HEADLINE.as_posix()}/params.yaml), by the price table "
        f"`{runs[0].prices}`. {_with_memory(scheme)}"
    )


def _family(root: Path) -> list[Path]:
    """List the folders of a recipe's runs, that at `root` first."""
    return [root, *published.siblings(root.parents[1], root.name)]


def _with_memory(scheme: SchemeResult) -> str:
    """Return what the ratio becomes where memory counts; nothing where it has no prices."""
    assumed = scheme.metrics["energy"]["memory"]
    for row in scheme.metrics["energy"]["sensitivity"]:
        if assumed and (row["table"], row["varied"], row["value"]) == (
            scheme.energy["table"], "weights_in", assumed["weights_in"],
        ):  # fmt: skip
            return (
                f"Arithmetic and memory together take {row['ratio']:.1f} times less, with weights "
                f"in `{row['weights_in']}` and activations in `{row['activations_in']}`."
            )
    return ""


def published_schemes(root: Path = ROOT / HEADLINE) -> str:
    """Return the table of schemes of the run that README opens with."""
    found, about = _read(root), files.read_json(root / "metrics/download.json")
    lines = [_sentence(about, found, f"`{HEADLINE.name}`"), "", *_table(found)]
    folders = _family(root)
    runs = [_read(folder) for folder in folders]
    lines += [*_training_seeds(folders, runs), *_goals(runs), *_seeds(root / publishing.SEEDS)]
    return "\n".join(lines)


def _read(root: Path) -> Results:
    # The CSV keeps the order of params.yaml, which may have been edited since.
    with (root / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        return read(root, [line["scheme"] for line in csv.DictReader(file)])


def _sentence(about: dict[str, object], found: Results, run: str = "The committed run") -> str:
    return (
        f"{run}: `{about['name']}`, {about['train_images']:,} training, "
        f"{about['validation_images']:,} validation and {about['test_images']:,} test images. "
        f"The float network has {found.train['parameters']:,} parameters and "
        f"{found.float_accuracy:.2%} of the test images right. Each scheme below runs it on "
        "integers alone; the p-value is McNemar's, on the same images, and the ratio is the "
        "energy of FP32 arithmetic over the scheme's, both by the price table "
        f"`{found.energy_table}`. Validation images alone choose: the cheapest scheme within "
        f"a standard error of the best of them is `{found.best.name}`."
    )


def _goals(runs: Sequence[Results]) -> list[str]:
    """Return which schemes lose no more than their kind was to, and by how much the others do."""
    lost = {
        name: statistics.mean(scheme["drop_points"] for scheme in schemes)
        for name, schemes in _by_name(runs).items()
    }
    titles, rows = ["schemes", "to lose at most", "within", "beyond, by"], []
    for kind, goal in GOALS.items():
        drops = {name: drop for name, drop in lost.items() if name.startswith(kind)}
        within = [f"`{name}` {drop:.2f}" for name, drop in drops.items() if drop <= goal]
        beyond = [f"`{name}` {drop - goal:.2f}" for name, drop in drops.items() if drop > goal]
        rows.append([f"`{kind}…`", f"{goal}", ", ".join(within) or "–", ", ".join(beyond) or "–"])
    return [
        "",
        "What each kind of scheme was to lose at most, in points, and what it lost"
        f"{f', mean of {len(runs)} trainings' if len(runs) > 1 else ''}:",
        "",
        *markdown.table(titles, rows, words=(0, 2, 3)),
    ]


def _by_name(runs: Sequence[Results]) -> dict[str, list[SchemeResult]]:
    """Return each scheme's results in every run; all runs have the same schemes, in any order."""
    measured = [{scheme.name: scheme for scheme in run.schemes} for run in runs]
    return {name: [schemes[name] for schemes in measured] for name in measured[0]}


def _training_seeds(folders: Sequence[Path], runs: Sequence[Results]) -> list[str]:
    """Return how much accuracies owe to the training; nothing where it ran but once."""
    if len(folders) < 2:
        return []
    floats = [[run.float_accuracy for run in runs],
              [run.train["validation_accuracy"] for run in runs]]  # fmt: skip
    rows = [["float network", *_spreads(floats), MISSING]]
    for name, schemes in _by_name(runs).items():
        found = [[scheme[key] for scheme in schemes] for _, key, _ in _OF_SEEDS]
        rows.append([f"`{name}`", *_spreads(found)])
    name = published.chosen([published.load(folder) for folder in folders])
    sentence = (
        f"Trained from {len(runs)} seeds, mean ± sample standard deviation; the table above is "
        f"of `{folders[0].name}`. By means on validation images, `{name}` is the cheapest scheme "
        "within a standard error of the best:"
    )
    return ["", sentence, "", *_of_seeds(rows)]


def _spreads(columns: Sequence[Sequence[float]]) -> list[str]:
    forms = (form for _, _, form in _OF_SEEDS)
    return [published.spread(column, form) for column, form in zip(columns, forms, strict=False)]


def _seeds(path: Path) -> list[str]:
    """Return how much accuracies owe to the images that calibrated; nothing without the file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = {(line["scheme"], line["metric"]): line for line in csv.DictReader(file)}
    count = sum(name.startswith("seed_") for name in next(iter(lines.values())))
    rows = []
    for scheme in dict.fromkeys(scheme for scheme, _ in lines):
        found = [(lines[scheme, metric], form) for _, metric, form in _OF_SEEDS]
        cells = [f"{float(at['mean']):{form}} ± {float(at['sd']):{form}}" for at, form in found]
        rows.append([f"`{scheme}`", *cells])
    return [
        "",
        f"The same network calibrated from {count} draws of training images each, mean ± sample "
        "standard deviation; the table above has one of them:",
        "",
        *_of_seeds(rows),
    ]


def _of_seeds(rows: Iterable[Sequence[str]]) -> list[str]:
    return _schemes([title for title, _, _ in _OF_SEEDS], rows)


def _table(found: Results) -> list[str]:
    rows = [
        [
            f"`{scheme.name}`",
            *(shown(scheme.row[column.name], column.form) for column in MAIN_COLUMNS),
        ]
        for scheme in found.schemes
    ]
    return _schemes([column.title for column in MAIN_COLUMNS], rows)


def _schemes(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return markdown.table(["scheme", *titles], rows)
