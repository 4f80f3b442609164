"""Files and folders written whole or not at all, with the same bytes for the same values."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from powtwo.core import strict
from powtwo.core.exchange import exchange
from powtwo.core.scratch import scratch

SIGNIFICANT_DIGITS = 8  # beyond these, sums in another order differ from machine to machine


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there if the block ends well.

    A block that fails leaves what stood at `path` untouched and nothing beside it.
    """
    path = Path(path)
    with scratch(path.parent) as folder:
        temporary = folder / path.name  # with its suffix, since writers such as savefig go by it
        try:
            yield temporary
        except OSError as error:
            if error.errno and error.filename is None:  # a write does not tell what it was for
                error.filename = str(path)
            raise
        temporary.replace(path)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; put it in that place if the block ends well.

    What stood there stays untouched until then, and a kill at any time leaves the old or the new.
    """
    with scratch(folder.parent) as beside:
        new = beside / "new"
        new.mkdir()
        yield new
        if folder.exists():
            exchange(new, folder)  # what stood there goes with the rest
        else:
            new.rename(folder)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with LF line ends."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path | str, values: Mapping[str, Any]) -> None:
    """Write metrics as JSON: sorted keys, floats to 8 significant digits.

    Raises:
        ValueError: where a value is NaN or infinite, naming its key.
    """
    text = json.dumps(_rounded(values, Path(path).name), indent=2, sort_keys=True)
    write_text(path, text + "\n")


def read_text(path: Path | str) -> str:
    """Read UTF-8 text.

    Raises:
        ValueError: where it is none, naming the file.
        OSError: where it cannot be opened.
    """
    try:
        return _regular(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: where it is none, or has a key twice or a number that is not finite.
        OSError: where it cannot be opened.
    """
    with strict.refused(path, "write it again, or restore it"):
        return strict.parse_json(_regular(path).read_text(encoding="utf-8"))


def _regular(path: Path | str) -> Path:
    """Refuse a FIFO, a socket or a device: who opens one may wait for ever."""
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path.name}: no regular file; remove it")
    return path


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows under a header; floats to 8 significant digits, NaN refused."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [_rounded(value, column) for column, value in zip(columns, row, strict=True)]
        )
    write_text(path, buffer.getvalue())


def _rounded(value: Any, key: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(item, f"{key}: {name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item, key) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{key} = {value}: a metric must be finite; find where it arose")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    return value
