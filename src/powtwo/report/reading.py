"""Metrics and tables read back: a damaged file is refused in one line, a missing key as well."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from powtwo.core import strict

TEXT = ("actual", "predicted", "scheme", "table")  # names stay text, also those like numbers
REMEDY = "make it again with `inv repro`"


class Row(dict[str, Any]):
    """A mapping of a file that names it where a key is missing."""

    def __init__(self, values: Mapping[str, Any], file: str) -> None:
        """Take the values of a file; mappings within them become rows as well."""
        nested = ((k, Row(v, file) if isinstance(v, dict) else v) for k, v in values.items())
        super().__init__(nested)
        self._file = file

    def __missing__(self, key: str) -> NoReturn:
        raise ValueError(f"{self._file}: {key}: missing; {REMEDY}")


def read_json(root: Path, name: str) -> Row:
    """Read a file of metrics.

    Raises:
        ValueError: where there is none, or it is damaged.
    """
    path = _present(root, name)
    with strict.refused(name, REMEDY):
        values = strict.parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("no JSON object")
    return Row(values, name)


def read_csv(root: Path, name: str) -> list[Row]:
    """Read a table; an empty cell is None, and what looks like a number is one.

    Raises:
        ValueError: where there is none, or it is damaged.
    """
    path = _present(root, name)
    with strict.refused(name, REMEDY), path.open(encoding="utf-8", newline="") as f:
        try:
            header, *lines = list(csv.reader(f, strict=True)) or [[]]
        except csv.Error as error:  # which is no ValueError
            raise ValueError(f"no table: {error}") from None
        if not header:
            raise ValueError("no header")
        for number, line in enumerate(lines, start=2):
            rule = f"must be {len(header)}, as in line 1"
            strict.require(len(line) == len(header), f"line {number}: cells", len(line), rule)
        return [
            Row(
                {
                    key: text if key in TEXT else _number(text)
                    for key, text in zip(header, line, strict=True)
                },
                name,
            )
            for line in lines
        ]


def _present(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise ValueError(f"{name}: no such file; make it with `inv repro`")
    return root / name


@cache  # tables repeat their cells tens of thousands of times
def _number(text: str) -> Any:
    """Return the number that a text is, None of an empty one, or else the text."""
    try:
        value = json.loads(text) if text else None
    except ValueError:
        return text
    finite = not isinstance(value, float) or math.isfinite(value)
    strict.require(finite, "cell", text, "every number must be finite")
    return value
