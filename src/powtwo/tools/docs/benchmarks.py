"""Runs of benchmarks that `--keep` added to a CSV file of docs, and their tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from powtwo.core import files
from powtwo.tools.docs import markdown

R = TypeVar("R", bound=NamedTuple)
WORDS = ("processor", "freed memory", "preset")  # titles of columns that hold no numbers


class TrainRow(NamedTuple):
    """A run of `inv bench train`. Ratios and shares are medians over its turns."""

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

    def cells(self) -> dict[str, str]:
        """Return what a table shows, by its titles."""
        machine = f"{self.processor}, {self.precision}, {self.threads} threads"
        return {
            "processor": f"{machine}, PyTorch {self.torch}, {self.batch_size} images a step",
            "freed memory": "kept" if self.memory_kept else "given back",
            "images/s": f"{self.images_per_second:,}",
            "`vs_bare_step`": f"{self.vs_bare_step:.3f}",
            "`vs_plain_loop`": f"{self.vs_plain_loop:.2f}",
            "`augment_share`": f"{self.augment_share:.3f}",
            "`other_than_matrix_share`": f"{self.other_than_matrix_share:.3f}",
            "turns": str(self.turns),
        }


class LoadRow(NamedTuple):
    """A run of `inv bench load`. Seconds are medians over its turns."""

    preset: str
    images: int
    source_megabytes: float | None  # of 10^6 bytes; None where the source is no single file
    cores: int
    turns: int
    source_seconds: float  # read, decoded, split, and written as the stages want it
    dataset_seconds: float  # read again from there

    def cells(self) -> dict[str, str]:
        """Return what a table shows, by its titles."""
        size = self.source_megabytes
        return {
            "preset": f"`{self.preset}`",
            "images": f"{self.images:,}",
            "source, MB": "–" if size is None else f"{size:.1f}",
            "cores": str(self.cores),
            "from the source, s": f"{self.source_seconds:.1f}",
            "from `data/dataset.npz`, s": f"{self.dataset_seconds:.2f}",
            "turns": str(self.turns),
        }


def table(rows: Sequence[TrainRow | LoadRow]) -> str:
    """Return Markdown: a line for each run, in their order."""
    if not rows:
        return "No run is kept yet: the benchmark's option `--keep` adds one."
    titles = list(rows[0].cells())
    words = [column for column, title in enumerate(titles) if title in WORDS]
    return "\n".join(markdown.table(titles, [list(row.cells().values()) for row in rows], words))


def read(path: Path, kind: type[R]) -> list[R]:
    """Read rows, none where there is no file; an empty cell is None.

    Raises:
        ValueError: where the columns are others, or a cell is not of its column's type.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = [*csv.reader(file)] or [[]]
    if header != list(kind._fields):
        raise ValueError(f"{path}: has columns {', '.join(header)}; move it away, and run again")
    try:
        cells = [[cell or None for cell in line] for line in lines]
        return TypeAdapter(list[kind]).validate_python(cells)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        row, column = (*first["loc"], 0)[:2]
        raise ValueError(
            f"{path}: row {int(row) + 1}, {kind._fields[int(column)]} = {first['input']!r}: "
            f"{first['msg']}; correct it, or move the file away"
        ) from None


def add(path: Path, row: R) -> None:
    """Add a row below those that are there; the file is written whole or not at all."""
    kind = type(row)
    files.write_csv(path, kind._fields, [*read(path, kind), row])
