"""The table of results in README, written from the metrics of the committed run."""

from __future__ import annotations

import csv
from pathlib import Path

from powtwo import files, markdown, published
from powtwo.results import SHORT, Results, read, shown

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"


def results(root: Path = ROOT) -> str:
    """Return the run whose metrics lie under `root`, then its published runs, as tables."""
    about = files.read_json(root / "metrics/download.json")
    # The CSV keeps the order of params.yaml, which may have been edited since.
    with (root / "plots/schemes.csv").open(encoding="utf-8", newline="") as file:
        found = read(root, [line["scheme"] for line in csv.DictReader(file)])
    committed = "\n".join([_sentence(about, found), "", *_table(found)])
    return "\n\n".join(filter(None, [committed, published.table(root)]))


def _sentence(about: dict[str, object], found: Results) -> str:
    return (
        f"The committed run: `{about['name']}`, {about['train_images']:,} training, "
        f"{about['validation_images']:,} validation and {about['test_images']:,} test images. "
        f"The float network has {found.train['parameters']:,} parameters and "
        f"{found.float_accuracy:.2%} of the test images right. Each scheme below runs it on "
        "integers alone; the p-value is McNemar's, on the same images, and the ratio is the "
        "energy of FP32 arithmetic over the scheme's. The best on validation images, which alone "
        f"choose, is `{found.best.name}`."
    )


def _table(found: Results) -> list[str]:
    head = ["scheme", *(column.title for column in SHORT)]
    lines = [markdown.row(head), markdown.row(["---", *["---:"] * len(SHORT)])]
    for scheme in found.schemes:
        cells = [shown(scheme.row[column.name], column.form) for column in SHORT]
        lines.append(markdown.row([f"`{scheme.name}`", *cells]))
    return lines
