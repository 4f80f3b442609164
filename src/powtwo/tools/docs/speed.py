"""How fast training is: the rows that `inv bench train -- --keep` adds, and their table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from powtwo.tools.docs import csv_rows, markdown

ROOT = Path(__file__).resolve().parents[4]
PAGE = ROOT / "docs" / "training.md"
ROWS = ROOT / "docs" / "speed.csv"


class Row(NamedTuple):
    """A run of the benchmark. Ratios and shares are medians over its turns."""

    processor: str  # a CPU's instructions, or a GPU's name
    precision: str
    threads: int
    torch: str
    batch_size: int  # images a step
    memory_kept: bool  # whether freed memory stays with the process
    turns: int
    images_per_second: int  # all augmentation on
    vs_bare_step: float  # of its images/s
    vs_plain_loop: float  # times its images/s
    augment_share: float  # of a step's time
    other_than_matrix_share: float  # of the device's busy time


def read(path: Path = ROWS) -> list[Row]:
    """Read the rows, as `csv_rows.read` does."""
    return csv_rows.read(path, Row)


def table(rows: Sequence[Row]) -> str:
    """Return Markdown: a line for each run, in their order; or that there is none."""
    if not rows:
        return "No run is kept yet: `./inv bench train -- --keep` makes one."
    titles = ["processor", "freed memory", "images/s", "`vs_bare_step`", "`vs_plain_loop`",
              "`augment_share`", "`other_than_matrix_share`", "turns"]  # fmt: skip
    return "\n".join(markdown.table(titles, map(_cells, rows), words=(0, 1)))


def _cells(row: Row) -> list[str]:
    machine = f"{row.processor}, {row.precision}, {row.threads} threads, PyTorch {row.torch}"
    shares = (row.augment_share, row.other_than_matrix_share)
    return [
        f"{machine}, {row.batch_size} images a step",
        "kept" if row.memory_kept else "given back",
        f"{row.images_per_second:,}",
        f"{row.vs_bare_step:.3f}",
        f"{row.vs_plain_loop:.2f}",
        *(f"{share:.3f}" for share in shares),
        str(row.turns),
    ]
