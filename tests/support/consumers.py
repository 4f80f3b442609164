"""Programs that read an export's ONNX files and cannot live in the environment of the tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from closure import ROOT

ENVIRONMENT = Path(os.environ.get("POWTWO_CONSUMERS", ROOT / ".venv-consumers"))
PYTHON = ENVIRONMENT / "bin/python"
HOW = "make it as tests/data/consumers.txt says, or name one by POWTWO_CONSUMERS"
needs_consumers = pytest.mark.skipif(
    not PYTHON.is_file(), reason=f"{PYTHON}: no hls4ml and OpenVINO here; {HOW}"
)


def run_in(program: str, scratch: Path, model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Run `run_<program>.py` on a model and its input (N, …), and return the output (N, …)."""
    onnx.save(model, str(scratch / "network.onnx"))
    np.save(scratch / "x.npy", x)
    script = Path(__file__).with_name(f"run_{program}.py")
    done = subprocess.run(
        [PYTHON, script, scratch], cwd=scratch, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return np.load(scratch / "y.npy")
