"""A folder in which a search runs within seconds: the small VGG, random images, one scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from closure import ROOT
from small_vgg import CHECKPOINT, CLASSES

from powtwo.core import files
from powtwo.dataset.images import Dataset

SCHEME = {
    "weights": {"observer": "mse", "bits": 6, "per": "channel"},
    "activations": {"observer": "mse", "bits": 8},
    "rounding": "half_up",
}
INDICES = (0, 2, 4, 7, 8)  # of its weighted layers
CANDIDATES = "uniform3,power_of_two3a4"
FORMATS = 5 * 2  # that are measured beside the scheme itself


def write(root: Path) -> None:
    """Write what a search reads."""
    values = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    values["schemes"] = {"base": SCHEME}
    values["export"]["schemes"] = []
    values["calibrate"] = {"seed": 0, "images": 16, "batch_size": 8}
    values["evaluate"]["sensitivity_images"] = 24
    files.write_text(root / "params.yaml", yaml.safe_dump(values, sort_keys=False))
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (40, 3, 32, 32)).astype(np.uint8)
    y = np.arange(40, dtype=np.int64) % len(CLASSES)
    (root / "data").mkdir()
    (root / "models").mkdir()
    Dataset(x, y, x[::-1].copy(), y[::-1].copy(), x, y, CLASSES).save(root / "data/dataset.npz")
    # Its logits far apart, so that losses are.
    *_, weight, _ = CHECKPOINT.weights
    weights = CHECKPOINT.weights | {weight: CHECKPOINT.weights[weight] * 30}
    replace(CHECKPOINT, weights=weights).save(root / "models/float.safetensors")
