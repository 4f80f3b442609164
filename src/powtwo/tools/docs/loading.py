"""How long images take to load: the rows that `inv bench load -- --keep` adds, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from powtwo.tools.docs import csv_rows, markdown

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "training.md"
ROWS = ROOT / "docs" / "loading.csv"


class Row(NamedTuple):
    """A run of the benchmark. Seconds are medians over its turns."""

    preset: str
    images: int
    source_megabytes: float | None  # of 10^6 bytes; None where the source is no single file
    cores: int
    turns: int
    source_seconds: float  # read, decoded, split, and written as the stages want it
    dataset_seconds: float  # read again from there


def read(path: Path = ROWS) -> list[Row]:
    """Read the rows, as `csv_rows.read` does."""
    return csv_rows.read(path, Row)


def table(rows: Sequence[Row]) -> str:
    """Return Markdown: a line for each run, in their order; or that there is none."""
    if not rows:
        return "No run is kept yet: `./inv bench load -- --keep` makes one."
    titles = ["preset", "images", "source, MB", "cores", "from the source, s",
              "from `data/dataset.npz`, s", "turns"]  # fmt: skip
    return "\n".join(markdown.table(titles, map(_cells, rows)))


def _cells(row: Row) -> list[str]:
    size = row.source_megabytes
    return [
        f"`{row.preset}`",
        f"{row.images:,}",
        "–" if size is None else f"{size:.1f}",
        str(row.cores),
        f"{row.source_seconds:.1f}",
        f"{row.dataset_seconds:.2f}",
        str(row.turns),
    ]
