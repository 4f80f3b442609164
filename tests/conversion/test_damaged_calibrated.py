"""The file of a calibrated network of which one thing is wrong: refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import check_refused, edited, replaced
from small_vgg import calibration, options_of

from powtwo.conversion.calibrated import Calibrated

REMEDY = "run the calibrate stage again"
CALIBRATED = calibration(options_of(bias_correction=True, weights={"per": "channel"}))


def layer(index: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda values: values["layers"][index].update(changes)


def folded(index: int, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda values: values["layers"][index]["folded"].update(changes)


EDITS = {
    "kind": (folded(0, kind="swish"), "layer 0: folded kind = 'swish': must be 'conv2d',"),
    "linear": (folded(0, kind="linear"), "layer 0: kind = 'linear': does not fit an input of (3,"),
    "stride": (folded(0, stride=0), "layer 0: folded stride = 0: must be greater than"),
    "stride 2": (folded(0, stride=2), "layer 7: weight (16, 192) does not fit an input of (48,)"),
    "kernel": (folded(0, kernel=5), "layer 0: folded kernel = 5: must be (3, 3), the sides"),
    "relu": (folded(0, relu=1), "layer 0: folded relu = 1: must be a valid boolean"),
    "zero point": (
        layer(0, output={"exponent": -4, "zero_point": 9, "bits": 3}),
        "layer 0: output zero_point = 9: must be 0 to 7",
    ),
    "exponent": (layer(0, weight_exponent=10**6), "layer 0: weight_exponent = 1000000: must be"),
    "channels": (layer(0, weight_exponent=[1]), "layer 0: weight_exponent: length = 1: must be 8"),
    "bits": (
        layer(0, weight_format={"bits": 8, "kind": "power_of_two"}),
        "layer 0: weight_format bits = 8: must be at most 4",
    ),
    "bits without 0": (
        layer(0, weight_format={"bits": 2, "kind": "power_of_two_nonzero"}),
        "layer 0: weight_format bits = 2: must be 3 or 4, as kind is power_of_two_nonzero",
    ),
    "unknown key": (layer(0, extra=1), "layer 0: extra = 1: unknown key"),
    "key gone": (lambda v: v["layers"][0].pop("output"), "layer 0: output: missing"),
    "last layer gone": (lambda v: v["layers"].pop(), "tensor layers.8.adapted_bias: of no layer"),
    "classes": (lambda v: v["classes"].pop(), "layer 8: output shape = (4,): must be (3,)"),
    "other class": (lambda v: v.update(classes=list("abcd")), "sha256 = '"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    CALIBRATED.save(tmp_path / "c")
    return tmp_path / "c"


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_refused_in_one_line(name: str, path: Path) -> None:
    edit, reason = EDITS[name]
    path.write_bytes(edited(path.read_bytes(), edit))
    check_refused(Calibrated.load, path, reason, REMEDY)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("0.bias", np.full(8, np.nan), "layer 0: bias = nan: every number must be finite"),
        ("0.bias", np.full(8, -np.inf), "layer 0: bias = -inf: every number must be finite"),
        ("0.bias", np.zeros(7), "layer 0: bias: shape = (7,): must be (8,)"),
        ("0.adapted_bias", np.zeros((8, 1)), "layer 0: adapted_bias: shape = (8, 1): must be (8,)"),
        ("0.bias", np.zeros(8, np.float32), "layer 0: bias: type = 'float32': must be float64"),
        ("1.bias", np.zeros(8), "tensor layers.1.bias: of no layer"),
        ("0.weight", None, "tensor layers.0.weight: missing"),
        ("0.bias", np.zeros(8), "sha256 = '"),
    ],
)
def test_a_tensor_that_does_not_fit(
    name: str, value: np.ndarray | None, reason: str, path: Path
) -> None:
    tensors = {f"layers.{name}": value}
    path.write_bytes(replaced(path.read_bytes(), **tensors))
    check_refused(Calibrated.load, path, reason, REMEDY)


def test_another_file(path: Path) -> None:
    path.write_bytes(b"no network")
    check_refused(Calibrated.load, path, "not a calibrated network: no safetensors file", REMEDY)
