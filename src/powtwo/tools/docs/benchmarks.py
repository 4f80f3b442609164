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


class LoadRow(NamedTuple):
    """A run of `inv bench load`. Seconds are medians over its turns."""

    preset: str
    images: int
    source_megabytes: float | None  # of 10^6 bytes; None where the source is no single file
    cores: int
    turns: int
    source_seconds: float  # read, decoded, split, and written as the stages want it
    dataset_seconds: float  # read again from there


class SizeRow(NamedTuple):
    """The C of a network on one processor, by `inv bench c_size`."""

    scheme: str
    weights: str  # int8 or packed
    processor: str
    flags: str
    gcc: str
    flash_bytes: int | None  # code and constants of network.c
    ram_bytes: int | None
    stack_bytes: int | None  # at most
    ms_an_image: float | None  # of processor time, a median over turns


class FinetuneRow(NamedTuple):
    """A fine-tuning of a scheme of preset cifar10-jpeg-tuned, seed 0, on an H200."""

    scheme: str
    changed: str  # keys of its section `finetune`
    epochs: int
    validation_accuracy: float  # of the integer network of the best epoch


def table(rows: Sequence[TrainRow | LoadRow | SizeRow | FinetuneRow]) -> str:
    """Return Markdown: a column for each of the file, a line for each run."""
    if not rows:
        return "No run is kept yet: the benchmark's option `--keep` adds one."
    words = [column for column, value in enumerate(rows[0]) if isinstance(value, str)]
    titles = [f"`{name}`" for name in rows[0]._fields]
    return "\n".join(markdown.table(titles, [[*map(_cell, row)] for row in rows], words))


def _cell(value: str | float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
