"""The table of calibration seeds: its statistics, and that seeds change calibration alone."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from closure import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import seeds


def test_mean_and_deviation_by_hand() -> None:
    runs = [{"accuracy": value, "other": 1} for value in (0.90, 0.92, 0.94)]
    head, rows = seeds.table({"lab": runs}, [0, 1, 7])
    assert head == ["scheme", "metric", "mean", "sd", "seed_0", "seed_1", "seed_7"]
    ((scheme, metric, mean, deviation, *values),) = rows
    assert (scheme, metric, values) == ("lab", "accuracy", [0.90, 0.92, 0.94])
    assert (mean, deviation) == pytest.approx((0.92, 0.02))


def test_one_seed_has_no_deviation() -> None:
    _, ((*_, deviation, value),) = seeds.table({"lab": [{"accuracy": 0.5}]}, [3])
    assert (deviation, value) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--schemes", "nope"], "seeds: 'nope': params.yaml has no such scheme\n"),
     ([], "seeds: data/dataset.npz: no such file; make it with `inv repro`\n")],
)  # fmt: skip
def test_errors_take_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "src").symlink_to(ROOT / "src")
    (tmp_path / "benchmarks").mkdir()
    script = tmp_path / "benchmarks/seeds.py"
    script.write_bytes((ROOT / "benchmarks/seeds.py").read_bytes())
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.pipeline
def test_only_the_seed_of_calibration_differs(tmp_path: Path) -> None:
    if not all((ROOT / name).is_file() for name in seeds.NEEDED):
        pytest.skip("needs the images and the float network; run `inv repro` first")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["calibrate"]["images"] = 4
    params["evaluate"]["sqnr_images"] = 4
    one, again, other = (seeds.evaluate(params, "minmax-ceil", seed) for seed in (0, 0, 1))
    assert one == again
    assert one["float_accuracy"] == other["float_accuracy"]
    head, rows = seeds.table({"minmax-ceil": [one, other]}, [0, 1])
    path = tmp_path / "seeds.csv"
    seeds.files.write_csv(path, head, rows)
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["metric"] for row in csv.DictReader(file)][:2] == ["accuracy", "drop_points"]
