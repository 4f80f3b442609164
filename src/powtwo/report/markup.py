"""HTML of a table whose every figure says where it came from, and of a figure with its text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from powtwo.report import figures
from powtwo.report.figures import BLUE, FAINT, INK, ORANGE, SKY

# Colors of a picture that the page chooses anew for light and dark.
_VARIABLES = {INK: "--ink", FAINT: "--faint", BLUE: "--blue", ORANGE: "--orange", SKY: "--sky"}


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place."""

    text: str
    value: float | None = None  # what it is sorted by; None: by its text
    source: str = ""  # file and key

    def html(self, heads_row: bool = False) -> str:
        """Return the cell; where it came from is its title."""
        kind, about = ("th", ' scope="row"') if heads_row else ("td", "")
        if self.value is not None:
            about += f' class="number" data-value="{self.value!r}"'
        if self.source:
            about += f' title="{escape(self.source)}"'
        return f"<{kind}{about}>{escape(self.text)}</{kind}>"


@dataclass(frozen=True)
class Picture:
    """A drawing and what it says to those who don't see it."""

    name: str  # plots/<name>.png
    drawing: Figure
    title: str
    description: str
    sources: Sequence[str]  # files, each with its keys or columns after a colon

    def html(self) -> str:
        """Return the drawing as inline SVG in a figure element."""
        svg = figures.svg(self.drawing, self.name)
        for color, variable in _VARIABLES.items():
            svg = svg.replace(color, f"var({variable})")
        svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(self.description)}" ', 1)
        return (
            f'<figure id="{self.name}">\n<h2>{escape(self.title)}</h2>\n'
            f'<div class="scroll" tabindex="0">{svg}</div>\n'
            f"<figcaption>{escape(self.description)} {links(self.sources)}</figcaption>\n</figure>"
        )


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], total: Sequence[Cell] = ()) -> str:
    """Return a table whose columns sort at a click; the total, if any, stays last."""
    titles = "".join(
        f'<th scope="col"><button type="button">{escape(title)}</button></th>' for title in head
    )
    body = "\n".join(map(_row, rows))
    foot = f"<tfoot>{_row(total)}</tfoot>" if total else ""
    return (
        f'<div class="scroll" tabindex="0"><table>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n{foot}</table></div>"
    )


def _row(cells: Sequence[Cell]) -> str:
    return f"<tr>{cells[0].html(heads_row=True)}{''.join(cell.html() for cell in cells[1:])}</tr>"


def links(sources: Iterable[str]) -> str:
    """Return links to files of the repository, from where the page lies.

    A source is a file, or a file and its keys: `metrics/evaluate/lab.json: accuracy, gained`.
    """
    named = []
    for source in sources:
        name, colon, keys = source.partition(": ")
        about = f"{colon}{escape(keys)}"
        named.append(f'<a href="../{escape(name)}">{escape(name)}</a>{about}')
    return f'<span class="source">From {"; ".join(named)}.</span>'


def figure_in_text(text: str, value: float, source: str) -> str:
    """Return a figure within a sentence; its element holds the value, and where it came from."""
    return f'<data value="{value!r}" title="{escape(source)}">{escape(text)}</data>'
