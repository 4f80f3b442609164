"""A folder in which a search runs within seconds: the small VGG, random images, one scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from closure import ROOT
from small_vgg import CHECKPOINT, CLASSES

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.graph import GraphArchitecture
from powtwo.network.spec import LayerSpec, Specs

SCHEME = {
    "weights": {"observer": "mse", "bits": 6, "per": "channel"},
    "activations": {"observer": "mse", "bits": 8},
    "rounding": "half_up",
}
INDICES = (0, 2, 4, 7, 8)  # of its weighted layers
CANDIDATES = "uniform3,power_of_two3a4"
FORMATS = 5 * 2  # that are measured beside the scheme itself


def residual() -> Checkpoint:
    """Return a network with an addition and an average: layers 0, 1, 3 and 6 have weights."""
    torch.manual_seed(0)
    layers = (
        LayerSpec("conv2d", outputs=6, kernel=3, stride=4, padding=1), LayerSpec("relu"),
        LayerSpec("conv2d", outputs=6, kernel=3, padding=1, groups=2),
        LayerSpec("add", (1, 2)), LayerSpec("relu"),
        LayerSpec("conv2d", outputs=6, kernel=1), LayerSpec("relu"),
        LayerSpec("avgpool2d", kernel=4, stride=4), LayerSpec("flatten"),
        LayerSpec("linear", outputs=len(CLASSES)),
    )  # fmt: skip
    architecture = GraphArchitecture(Specs((3, 32, 32), layers))
    weights = dict(architecture.build().state_dict())
    return Checkpoint(architecture, Normalization("dyadic"), weights)


def write(root: Path, checkpoint: Checkpoint = CHECKPOINT) -> None:
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
    *_, weight, _ = checkpoint.weights
    weights = checkpoint.weights | {weight: checkpoint.weights[weight] * 30}
    replace(checkpoint, weights=weights).save(root / "models/float.safetensors")
