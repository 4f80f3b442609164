"""Files are whole or not there, and the same values give the same bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from powtwo.core import files


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def write_half() -> None:
        with files.atomic(path) as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_line_ends_are_lf(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    files.write_text(path, "a\nb\n")
    assert path.read_bytes() == b"a\nb\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFO")
@pytest.mark.parametrize("read", [files.read_text, files.read_json])
def test_a_fifo_is_refused_at_once(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match="a: no regular file; remove it"):
        read(tmp_path / "a")


def test_json_is_sorted_and_rounded_to_eight_digits(tmp_path: Path) -> None:
    files.write_json(tmp_path / "m.json", {"b": 1 / 3, "a": {"d": 2, "c": [0.1 + 0.2]}})
    expected = (
        '{\n  "a": {\n    "c": [\n      0.3\n    ],\n    "d": 2\n  },\n  "b": 0.33333333\n}\n'
    )
    assert (tmp_path / "m.json").read_text() == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="m.json: loss: train = .*: a metric must be finite"):
        files.write_json(tmp_path / "m.json", {"loss": {"train": bad}})
    with pytest.raises(ValueError, match="loss = .*: a metric must be finite"):
        files.write_csv(tmp_path / "m.csv", ("epoch", "loss"), [(1, 0.5), (2, bad)])
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_header_and_as_many_cells_in_each_row(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "m.csv", ("a", "b"), [(1, 2 / 3), ("x,y", 4)])
    assert (tmp_path / "m.csv").read_bytes() == b'a,b\n1,0.66666667\n"x,y",4\n'
    with pytest.raises(ValueError, match="zip"):
        files.write_csv(tmp_path / "m.csv", ("a", "b"), [(1,)])
