"""The table of calibration seeds: its statistics, and that seeds change calibration alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from closure import ROOT

from powtwo.core import arrays
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint

sys.path.insert(0, str(ROOT / "benchmarks"))

import seeds


@pytest.mark.parametrize(
    ("values", "mean", "deviation"), [([0.90, 0.92, 0.94], 0.92, 0.02), ([0.5], 0.5, 0.0)]
)
def test_mean_and_deviation_by_hand(values: list[float], mean: float, deviation: float) -> None:
    runs = [{"accuracy": value, "other": 1} for value in values]
    head, (row,) = seeds.table({"lab": runs}, [7, 1, 0][: len(values)])
    names = ["seed_7", "seed_1", "seed_0"][: len(values)]
    assert head == ["scheme", "metric", "mean", "sd", *names]
    assert row == ("lab", "accuracy", pytest.approx(mean), pytest.approx(deviation), *values)


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
    (tmp_path / "params.yaml").write_bytes((ROOT / "tests/data/params.yaml").read_bytes())
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, message)


def write_inputs(root: Path) -> None:
    """Write images and a float network, small and untrained: what the stages read."""
    draw = np.random.default_rng(0)
    parts = [
        part
        for count in (40, 12, 12)
        for part in (
            draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8),
            draw.integers(0, 3, count),
        )
    ]
    for name in ("data", "models"):
        (root / name).mkdir()
    Dataset(*parts, ("a", "b", "c")).save(root / seeds.NEEDED[0])
    torch.manual_seed(0)
    architecture = Architecture((4, "M", 6, "M", 8, "M"), (12,), 3)
    state = dict(architecture.build().state_dict())
    Checkpoint(architecture, Normalization("dyadic"), state).save(root / seeds.NEEDED[1])
    with (root / seeds.NEEDED[2]).open("wb") as file:
        arrays.write(file, {"test": parts[-1]})


def test_only_the_seed_of_calibration_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inputs(tmp_path)
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    params = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    params["calibrate"]["images"] = 2
    one, again, other = (seeds.evaluate(params, "minmax-ceil", seed) for seed in (0, 0, 1))
    assert one == again
    assert one["min_sqnr_db"] != other["min_sqnr_db"]
    assert one["float_accuracy"] == other["float_accuracy"] == 1
    assert set(seeds.KEYS) <= set(one)
