"""Metrics and tables that are damaged are refused in one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from powtwo.report import reading

REMEDY = "make it again with `inv repro`"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON: Expecting value"),
        (b"[1]", "no JSON object"),
        (b'{"a": NaN}', "NaN: every number must be finite"),
        (b'{"a": 1, "a": 2}', "'a': is there twice"),
        (b'{"a": "\xff"}', "'utf-8' codec can't decode"),
    ],
)
def test_damaged_metrics(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_bytes(content)
    refused(lambda: reading.read_json(tmp_path, "m.json"), "m.json", reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no header"),
        (b"a,b\n1\n", "line 2: cells = 1: must be 2, as in line 1"),
        (b"a,b\n1,2\n1,2,3\n", "line 3: cells = 3: must be 2, as in line 1"),
        (b"a,b\n1,nan\n1,NaN\n", "cell = 'NaN': every number must be finite"),
        (b"a,b\n1,1e999\n", "cell = '1e999': every number must be finite"),
        (b'a,b\n1,"2\n', "no table: unexpected end of data"),
        (b"a,b\n1,\xff\n", "'utf-8' codec can't decode"),
        (b"a,b\n1," + b"x" * 200_000, "no table: field larger than field limit"),
    ],
)
def test_a_damaged_table(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    refused(lambda: reading.read_csv(tmp_path, "t.csv"), "t.csv", reason)


@pytest.mark.parametrize("read", [reading.read_csv, reading.read_json])
def test_a_folder_in_the_place_of_a_file_is_named_once(read: Any, tmp_path: Path) -> None:
    (tmp_path / "plots/x.csv").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^plots/x\.csv: no such file; make it with `inv repro`$"):
        read(tmp_path, "plots/x.csv")


def test_a_missing_key_is_named_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"a": {"b": 1}}', encoding="utf-8")
    (tmp_path / "t.csv").write_text("a,b\n1,\n", encoding="utf-8")
    row, (line,) = reading.read_json(tmp_path, "m.json"), reading.read_csv(tmp_path, "t.csv")
    assert (row, line) == ({"a": {"b": 1}}, {"a": 1, "b": None})
    refused(lambda: row["c"], "m.json", "c: missing")
    refused(lambda: row["a"]["c"], "m.json", "c: missing")
    refused(lambda: line["c"], "t.csv", "c: missing")


def refused(read: object, name: str, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        read()
    line = str(refusal.value)
    assert line.startswith(f"{name}: {reason}")
    assert line.endswith(f"; {REMEDY}")
