"""From the float checkpoint onward: the same bytes on any processor, threads and batch size."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml
from clone import CLASSES, PARAMS, Clone, tiny_run
from closure import ROOT

from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint

pytestmark = pytest.mark.pipeline

# Each with a batch size, and what has the libraries behave as on another machine.
MACHINES = {
    "this one": (250, {}),
    "AVX2, one thread": (7, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
                             "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OMP_NUM_THREADS": "1"}),
    "SSE4.1, seven threads": (1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
                                  "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_NUM_THREADS": "7"}),
    "another maker's": (250, {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2"}),
}  # fmt: skip


def wide_checkpoint() -> Checkpoint:
    """Return a network with so many channels that a library's inexact roots would show."""
    torch.manual_seed(0)
    architecture = Architecture((192, "M", 96, "M", 32, "M"), (24,), len(CLASSES))
    weights = dict(architecture.build().state_dict())
    for name, tensor in weights.items():
        if name.endswith("running_var"):
            weights[name] = torch.rand(tensor.shape) + 0.1
    return Checkpoint(architecture, Normalization("dyadic"), weights)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a tiny run with a wide network, and a scheme that has every option."""
    clone = tiny_run(tmp_path_factory).copy(tmp_path_factory.mktemp("machines"))
    wide_checkpoint().save(clone.root / "models/float.safetensors")
    shift = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["schemes"]["shift"]
    clone.edit_params(lambda values: values["schemes"].update(shift=shift | {"equalize": True}))
    return clone


def bytes_on(clone: Clone, machine: str) -> dict[str, str]:
    """Return the digest of each output of the stages after training, by its path."""
    batch_size, environment = MACHINES[machine]
    script = ROOT / "tests/support/integer_tier.py"
    done = subprocess.run(
        [sys.executable, str(script), str(clone.root), str(batch_size)],
        env=clone.environment | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digests: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return digests


@pytest.fixture(scope="module")
def here(clone: Clone) -> dict[str, str]:
    digests = bytes_on(clone, "this one")
    assert {"models/calibrated/shift.safetensors", "metrics/evaluate/shift.json",
            "exports/lab/network.c"} <= set(digests)  # fmt: skip
    return digests


@pytest.mark.parametrize("machine", [name for name in MACHINES if name != "this one"])
def test_every_byte_after_training_is_the_same(
    machine: str, here: dict[str, str], clone: Clone
) -> None:
    there = bytes_on(clone, machine)
    assert [path for path in here | there if here.get(path) != there.get(path)] == []
