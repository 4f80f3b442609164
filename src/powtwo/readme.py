"""What README shows of results: the sentence it opens with, and its tables, from their files."""

from __future__ import annotations

import csv
from pathlib import Path

from powtwo import files, markdown, published, publishing
from powtwo.results import SHORT, Results, read, shown

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"
HEADLINE = Path("results/cifar10-jpeg-short")  # the run whose picture README opens with
_OF_SEEDS = (
    ("accuracy", "accuracy", ".2%"),
    ("on validation", "validation_accuracy", ".2%"),
    ("drop, points", "drop_points", ".2f"),
)
CLOSE = 0.005  # of accuracy on validation images: within half a point of the best


def results(root: Path = ROOT) -> str:
    """Return the run whose metrics lie under `root`, then its published runs, as tables."""
    about = files.read_json(root / "metrics/download.json")
    # The CSV keeps the order of params.yaml, which may have been edited since.
    with (root / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        found = read(root, [line["scheme"] for line in csv.DictReader(file)])
    committed = "\n".join([_sentence(about, found), "", *_table(found)])
    return "\n\n".join(filter(None, [committed, published.table(root)]))


def headline(root: Path = ROOT / HEADLINE) -> str:
    """Return what the picture proves: what the cheapest scheme close to the best costs and saves.

    Validation images choose it, the test images tell.
    """
    found = files.read_json(root / "metrics/compare.json")
    images = files.read_json(root / "metrics/download.json")
    best = max(row["validation_accuracy"] for row in found["schemes"].values())
    close = {
        name: row
        for name, row in found["schemes"].items()
        if row["validation_accuracy"] >= best - CLOSE
    }
    name, row = max(close.items(), key=lambda item: item[1]["ratio"])
    measured = files.read_json(root / f"metrics/evaluate/{name}.json")
    return (
        f"**With {row['ratio']:.1f} times less energy for arithmetic than FP32, integers and "
        f"shifts alone lose {row['drop_points']:.2f} points of {measured['float_accuracy']:.2%}** "
        f"(95 % interval {row['drop_points_low']:.2f} to {row['drop_points_high']:.2f}, "
        f"{images['test_images']:,} test images): the scheme `{name}` of [{HEADLINE.name}]"
        f"({HEADLINE.as_posix()}/params.yaml), by the price table `{found['energy_table']}`."
    )


def published_schemes(root: Path = ROOT / HEADLINE) -> str:
    """Return the table of schemes of the run that README opens with."""
    with (root / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        found = read(root, [line["scheme"] for line in csv.DictReader(file)])
    about = files.read_json(root / "metrics/download.json")
    lines = [_sentence(about, found, f"`{HEADLINE.name}`"), "", *_table(found)]
    return "\n".join([*lines, *_seeds(root / publishing.SEEDS)])


def _sentence(about: dict[str, object], found: Results, run: str = "The committed run") -> str:
    return (
        f"{run}: `{about['name']}`, {about['train_images']:,} training, "
        f"{about['validation_images']:,} validation and {about['test_images']:,} test images. "
        f"The float network has {found.train['parameters']:,} parameters and "
        f"{found.float_accuracy:.2%} of the test images right. Each scheme below runs it on "
        "integers alone; the p-value is McNemar's, on the same images, and the ratio is the "
        "energy of FP32 arithmetic over the scheme's, both by the price table "
        f"`{found.energy_table}`. The best on validation images, which alone choose, is "
        f"`{found.best.name}`."
    )


def _seeds(path: Path) -> list[str]:
    """Return how much accuracies owe to the images that calibrated; nothing without the file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = {(line["scheme"], line["metric"]): line for line in csv.DictReader(file)}
    schemes = list(dict.fromkeys(scheme for scheme, _ in rows))
    count = sum(name.startswith("seed_") for name in next(iter(rows.values())))
    head = ["scheme", *(title for title, _, _ in _OF_SEEDS)]
    lines = [markdown.row(head), markdown.row(["---", *["---:"] * len(_OF_SEEDS)])]
    for scheme in schemes:
        cells = [
            f"{float(line['mean']):{form}} ± {float(line['sd']):{form}}"
            for line, form in ((rows[scheme, metric], form) for _, metric, form in _OF_SEEDS)
        ]
        lines.append(markdown.row([f"`{scheme}`", *cells]))
    return [
        "",
        f"The same network calibrated from {count} draws of training images each, mean ± sample "
        "standard deviation; the table above has one of them:",
        "",
        *lines,
    ]


def _table(found: Results) -> list[str]:
    head = ["scheme", *(column.title for column in SHORT)]
    lines = [markdown.row(head), markdown.row(["---", *["---:"] * len(SHORT)])]
    for scheme in found.schemes:
        cells = [shown(scheme.row[column.name], column.form) for column in SHORT]
        lines.append(markdown.row([f"`{scheme.name}`", *cells]))
    return lines
