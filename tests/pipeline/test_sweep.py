"""Sweeps of the real pipeline, on a tiny run: what stages they run."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from clone import tiny_run
from test_remotes import committed

pytestmark = pytest.mark.pipeline


def test_a_sweep_over_schemes_reuses_the_trained_network(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = committed(tiny_run(tmp_path_factory).copy(tmp_path / "copy"))
    clone.environment["PYTHONPATH"] = str(clone.root / "src")
    before = clone.bytes_of("models", "metrics", "plots", "report")
    points = clone.root / "bits.yaml"
    points.write_text("grid: {schemes.minmax-ceil.weights.bits: [3, 4]}\n", encoding="utf-8")
    done = clone.run(sys.executable, "-m", "powtwo.tools.experiments.sweep", "bits.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" done ") == 2
    logs = [path.read_text() for path in (clone.root / "logs/experiments").glob("bits-*.log")]
    ran = Counter(stage for log in logs for stage in re.findall(r"Running stage '([^']+)'", log))
    stages = ("calibrate", "finetune", "convert", "evaluate", "energy")
    assert ran == dict.fromkeys(
        ["source", "compare", *(f"{stage}@minmax-ceil" for stage in stages)], 2
    )
    assert clone.bytes_of("models", "metrics", "plots", "report") == before
    assert clone.repro() == []
