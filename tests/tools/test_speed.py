"""The kept runs of the training benchmark, and their table."""

from __future__ import annotations

from pathlib import Path

import pytest

from powtwo.tools.docs import csv_rows, markdown, speed
from powtwo.tools.docs.speed import Row

ROW = Row("AVX2", "float32", 2, "2.13", 256, True, 9, 1095, 0.99, 3.456, 0.02, 0.25)


def test_the_page_shows_the_committed_rows() -> None:
    page = speed.PAGE.read_text(encoding="utf-8")
    written = markdown.insert(page, "speed", speed.table(speed.read()))
    assert written == page, "stale: run `inv docs`"


def test_a_row_is_added_below_the_others_and_read_as_it_was(tmp_path: Path) -> None:
    path, other = tmp_path / "rows.csv", ROW._replace(memory_kept=False, turns=3)
    assert speed.read(path) == []
    csv_rows.add(path, Row, ROW)
    csv_rows.add(path, Row, other)
    assert speed.read(path) == [ROW, other]


@pytest.mark.parametrize("found", ["2.5", "", "two"])
def test_a_cell_that_is_not_of_its_column_is_refused(found: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    csv_rows.add(path, Row, ROW)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("float32,2,", f"float32,{found},"), encoding="utf-8")
    with pytest.raises(ValueError, match=f"rows.csv: row 1, threads = '?{found or None}'?: Input"):
        speed.read(path)


def test_a_line_of_the_table_is_a_run() -> None:
    *_, first, second = speed.table([ROW, ROW._replace(memory_kept=False)]).splitlines()
    machine = "AVX2, float32, 2 threads, PyTorch 2.13, 256 images a step"
    assert first == f"| {machine} | kept | 1,095 | 0.990 | 3.46 | 0.020 | 0.250 | 9 |"
    assert second == first.replace("kept", "given back")


def test_without_rows_the_page_says_how_to_make_one() -> None:
    assert "./inv bench train -- --keep" in speed.table([])
