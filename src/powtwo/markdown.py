"""Markdown that a command writes: tables, and text between markers of a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from powtwo import files


def row(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def insert(page: str, name: str, text: str) -> str:
    """Return the page with `text` between the markers called `name`.

    Raises:
        ValueError: where the page has no such markers.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not end:
        raise ValueError(f"page: has no {first} … {last}; put them where the text goes")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"


def update(path: Path, name: str, text: str) -> None:
    """Write `text` between the markers called `name` of the page at `path`."""
    files.write_text(path, insert(path.read_text(encoding="utf-8"), name, text))
