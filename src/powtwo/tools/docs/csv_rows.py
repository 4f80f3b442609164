"""CSV files whose lines are a NamedTuple each: what benchmarks add to, and `inv docs` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from powtwo.core import files

R = TypeVar("R", bound=NamedTuple)


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
            f"{first['msg']}; mend it, or move the file away"
        ) from None


def write(path: Path, kind: type[R], rows: Iterable[R]) -> None:
    """Write rows under their header, whole or not at all."""
    files.write_csv(path, kind._fields, rows)


def add(path: Path, kind: type[R], row: R) -> None:
    """Add a row, below those that are there."""
    write(path, kind, [*read(path, kind), row])
