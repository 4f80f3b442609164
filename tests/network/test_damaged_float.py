"""The file of a trained network of which one thing is wrong: refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import check_refused, edited, replaced
from small_vgg import CHECKPOINT

from powtwo.network.checkpoint import Checkpoint

REMEDY = "run the train stage again"


def changed(part: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda values: values[part].update(changes)


EDITS = {
    "layout": (changed("architecture", layout=[8, "X"]), "architecture layout 1 = 'X': must be"),
    "layout M": (changed("architecture", layout=["M", 8]), "layout = ['M', 8]: must list numbers"),
    "layout true": (changed("architecture", layout=[True]), "architecture layout 0 = True: must"),
    "poolings": (changed("architecture", layout=[8] + ["M"] * 6), "layout = [8, 'M', 'M', 'M'"),
    "halvings": (changed("architecture", image=[3, 32, 7]), "layout = [8, 'M', 8, 'M', 12, 'M']"),
    "other image": (
        changed("architecture", image=[3, 40, 56]),
        "13.weight: shape = (16, 192): mu",
    ),
    "other channels": (changed("architecture", image=[1, 32, 32]), "0.weight: shape = (8, 3, 3, 3"),
    "no image": (changed("architecture", image=[]), "architecture image = []: "),
    "sizes": (changed("architecture", hidden=[10**12]), "architecture hidden 0 = 1000000000000: "),
    "other sizes": (changed("architecture", hidden=[17]), "13.weight: shape = (16, 192): must be"),
    "classes": (changed("architecture", classes=0), "architecture classes = 0: must be greater"),
    "deeper": (changed("architecture", hidden=[16, 16]), "tensor 17.bias: missing"),
    "normalization": (changed("input", kind="x"), "input kind = 'x': must be 'dyadic' or"),
    "std": (changed("input", kind="standard", mean=[0] * 3, std=[0] * 3), "input std = [0.0, 0.0"),
    "unknown key": (lambda v: v.update(extra=1), "extra = 1: unknown key"),
    "key gone": (lambda v: v.pop("input"), "input: missing"),
    "digest": (lambda v: v.update(sha256="x"), "sha256 = 'x': differs from what the file holds"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    CHECKPOINT.save(tmp_path / "f")
    return tmp_path / "f"


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_in_one_line(name: str, path: Path) -> None:
    edit, reason = EDITS[name]
    path.write_bytes(edited(path.read_bytes(), edit))
    check_refused(Checkpoint.load, path, reason, REMEDY)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("0.bias", np.full(8, np.nan, np.float32), "0.bias = nan: every number must be finite"),
        ("0.bias", np.zeros(8), "0.bias: type = 'float64': must be float32"),
        ("0.bias", np.zeros(7, np.float32), "0.bias: shape = (7,): must be (8,)"),
        ("1.running_var", np.full(8, -1, np.float32), "1.running_var = -1.0: a variance must not"),
        ("0.bias", None, "tensor 0.bias: missing"),
        ("2.bias", np.zeros(8, np.float32), "tensor 2.bias: not of this architecture"),
        ("0.bias", np.zeros(8, np.float32), "sha256 = '"),
    ],
)
def test_a_tensor_that_does_not_fit(
    name: str, value: np.ndarray | None, reason: str, path: Path
) -> None:
    tensors = {name: value}
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    check_refused(Checkpoint.load, path, reason, REMEDY)


def test_another_file(path: Path) -> None:
    path.write_bytes(b"no network")
    check_refused(Checkpoint.load, path, "not a trained network: no safetensors file", REMEDY)
