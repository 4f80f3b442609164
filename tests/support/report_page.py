"""The stage compare, and its page: elements, and the figures that a source names."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

from matplotlib.figure import Figure
from metrics_tree import read_csv

import compare
from powtwo.core import files
from powtwo.report import page, results

FIGURES = ("schemes", "energy", "sqnr", "sensitivity", "histograms", "confusion", "training")
VOID = {"meta", "link", "br"}


def run_compare(root: Path) -> str:
    """Run the stage and return what it printed."""
    with contextlib.chdir(root), contextlib.redirect_stdout(io.StringIO()) as printed:
        compare.main()
    return printed.getvalue()


def render(run: results.Results, figures: Mapping[str, Figure]) -> str:
    """Return the page of schemes whose options do not matter."""
    return page.render(run, figures, {scheme.name: "W8 lab" for scheme in run.schemes}, seed=7)


def render_text(run: results.Results) -> str:
    """Return the page with empty pictures, which takes no second."""
    return render(run, {name: Figure() for name in FIGURES})


class Page(HTMLParser):
    """Collects a page's elements and complains where they don't nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]

    def numbers(self) -> list[tuple[str, float, str, str]]:
        """List the figures: tag, value, and the file and the key that it is said to be of."""
        numbers = []
        for tag, attributes in self.elements:
            value = attributes.get("data-value" if tag in ("td", "th") else "value")
            if value is not None:
                file, _, key = (attributes["title"] or "").partition(": ")
                numbers.append((tag, float(value), file, key))
        return numbers


def values_at(root: Path, file: str, key: str) -> set[float]:
    """Return the values that a file has under a key, by the way the page names it.

    In JSON a dotted key; in CSV the layer and other values of the rows, and last the column.
    """
    if file.endswith(".json"):
        value = files.read_json(root / file)
        for part in key.split("."):
            value = value[int(part) if isinstance(value, list) else part]
        return {float(value)}
    *wanted, column = key.removeprefix("layer ").replace(" = ", ", ").split(", ")
    folder = Path(file).parent.name
    names = {"accuracy": ("part",), "totals": ("part", "table"), "assumptions": (
        "varied", "value", "table")}.get(folder, ("layer",))  # fmt: skip
    rows = [
        row
        for row in read_csv(root / file)
        if all(row[name] == value for name, value in zip(names, wanted, strict=False))
        and set(wanted) <= set(row.values())
    ]
    assert rows, (file, key)
    if column == "sum of pJ":
        return {sum(float(row["energy_pj"]) for row in rows)}
    return {float(row[column]) for row in rows}
