"""The benchmarks of training and of loading run, and say what programs read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

from powtwo.tools.docs import loading, speed


@pytest.mark.pipeline
def test_the_last_line_of_the_training_benchmark_is_json(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks/train.py"), "--turns", "1"]
    rows = tmp_path / "rows.csv"
    done = subprocess.run(
        [*command, "--batch-size", "4", "--keep", str(rows)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    shares = {"augment_share", "other_than_matrix_share"}
    assert set(found) == {"vs_bare_step", "vs_plain_loop", *shares}
    assert all(ratio > 0 for ratio in found.values())
    assert all(found[share] < 1 for share in shares)
    (row,) = speed.read(rows)
    assert {name: getattr(row, name) for name in found} == found
    assert (row.batch_size, row.turns) == (4, 1)


def test_a_step_of_more_images_than_there_are_is_refused() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/train.py"), "--batch-size", "10001"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "train: --batch-size = 10001: there are 10000 images; use 1 to 10000\n"


def _load(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/load.py"), "--preset", "mnist5k", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_last_line_of_the_loading_benchmark_is_json(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    done = _load("--turns", "2", "--keep", str(rows))
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {"source_seconds", "dataset_seconds"}
    assert 0 < found["dataset_seconds"] < found["source_seconds"]
    (row,) = loading.read(rows)
    assert {name: getattr(row, name) for name in found} == found
    assert (row.preset, row.images, row.source_megabytes, row.turns) == ("mnist5k", 5000, None, 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--turns", "0"], "--turns = 0: must be 1 or more"),
        (["--preset", "images", "--data", "nowhere"], "preset 'images': no such preset"),
        (["--preset", "cifar10-jpeg", "--data", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(options: list[str], reason: str) -> None:
    done = _load(*options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"load: {reason}")
    assert done.stderr.count("\n") == 1
