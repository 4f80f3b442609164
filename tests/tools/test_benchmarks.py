"""The benchmarks of training and of loading: what they say to programs, rows kept, tables."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT
from export_cases import needs
from networks import random_network

from powtwo.tools.docs import benchmarks
from powtwo.tools.docs.benchmarks import LoadRow, SizeRow, TrainRow

TRAIN = TrainRow("AVX2", "float32", 2, "2.13", 256, True, 9, 1095, 0.99, 3.456, 0.02, 0.25)
LOAD = LoadRow("cifar10-jpeg", 60000, 42.0512, 2, 3, 12.345, 0.266)


def bench(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_last_line_of_the_training_benchmark_is_json(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    done = bench("train", "--turns", "1", "--batch-size", "4", "--keep", str(rows))
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    shares = {"augment_share", "other_than_matrix_share"}
    assert set(shown) == {"vs_bare_step", "vs_plain_loop", *shares}
    assert all(ratio > 0 for ratio in shown.values())
    assert all(shown[share] < 1 for share in shares)
    (row,) = benchmarks.read(rows, TrainRow)
    assert {name: getattr(row, name) for name in shown} == shown
    assert (row.batch_size, row.turns) == (4, 1)


@pytest.mark.slow
def test_the_last_line_of_the_loading_benchmark_is_json(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    done = bench("load", "--preset", "mnist5k", "--turns", "2", "--keep", str(rows))
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout.splitlines()[-1])
    assert set(shown) == {"source_seconds", "dataset_seconds"}
    assert 0 < shown["dataset_seconds"] < shown["source_seconds"]
    (row,) = benchmarks.read(rows, LoadRow)
    assert {name: getattr(row, name) for name in shown} == shown
    assert (row.preset, row.images, row.source_megabytes, row.turns) == ("mnist5k", 5000, None, 2)


@needs("gcc", "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")
def test_the_last_line_of_the_benchmark_of_c_is_json(tmp_path: Path) -> None:
    rows, network = tmp_path / "rows.csv", tmp_path / "network.safetensors"
    random_network(1, weight_bits=4, kind="power_of_two").save(network)
    options = ("--network", str(network), "--images", "400", "--turns", "1", "--keep", str(rows))
    done = bench("c_size", *options)
    assert (done.returncode, done.stderr) == (0, "")
    shown = json.loads(done.stdout.splitlines()[-1])
    assert len(shown) == 4
    kept = benchmarks.read(rows, SizeRow)
    assert [row.weights for row in kept] == ["int8", "packed"] * 4
    int8, packed = (row.flash_bytes for row in kept[:2])
    assert shown["cortex-m4 -Os"] == round(packed / int8, 3) < 1


@pytest.mark.slow
def test_a_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = bench("c_size")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"c_size: \S+ is not installed; see the list .*\n", done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("c_size --turns 0", "--turns = 0: must be 1 or more"),
        ("train --batch-size 10001", "--batch-size = 10001: there are 10000 images; use 1 to 1"),
        ("load --turns 0", "--turns = 0: must be 1 or more"),
        ("load --preset images --data nowhere", "preset 'images': no such preset"),
        ("load --data nowhere", "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(command: str, reason: str) -> None:
    name, *options = command.split()
    done = bench(name, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name}: {reason}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "other"),
    [(TRAIN, TRAIN._replace(memory_kept=False)), (LOAD, LOAD._replace(source_megabytes=None))],
)
def test_a_row_is_added_below_the_others_and_read_as_it_was(
    row: TrainRow, other: TrainRow, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    assert benchmarks.read(path, type(row)) == []
    benchmarks.add(path, row)
    benchmarks.add(path, other)
    assert benchmarks.read(path, type(row)) == [row, other]


@pytest.mark.parametrize("cell", ["2.5", "", "two"])
def test_a_cell_that_is_not_of_its_column_is_refused(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    benchmarks.add(path, TRAIN)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("float32,2,", f"float32,{cell},"), encoding="utf-8")
    with pytest.raises(ValueError, match=f"rows.csv: row 1, threads = '?{cell or None}'?: Input"):
        benchmarks.read(path, TrainRow)


@pytest.mark.parametrize(("text", "columns"), [("a,b\n1,2\n", "a, b"), ("", "")])
def test_other_columns_are_refused(text: str, columns: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(ValueError, match=f"has columns {columns}; move it away"):
        benchmarks.read(tmp_path / "rows.csv", LoadRow)


def test_a_line_of_a_table_is_a_run() -> None:
    titles, rule, first, second = benchmarks.table(
        [LOAD, LOAD._replace(source_megabytes=None)]
    ).split("\n")
    assert titles.startswith("| `preset` | `images` | `source_megabytes` |")
    assert rule.startswith("| --- | ---: |")
    assert first == "| cifar10-jpeg | 60000 | 42.05 | 2 | 3 | 12.35 | 0.266 |"
    assert second == first.replace("42.05", "–")
    assert benchmarks.table([]).startswith("No run is kept yet")
