"""Recipes for tests of training, and the stage train on a handful of images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.training import loop
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.history import Epoch
from powtwo.training.learning_rate import learning_rates
from powtwo.training.loop import Fit
from powtwo.training.params import Augment, Train

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src/train.py"
KILLED = Path(__file__).with_name("killed_stage.py")  # the same, killed where KILL says
OUTPUTS = ("models/float.safetensors", "metrics/train.json", "plots/training.csv")
SMALL = Architecture((8, "M", 8, "M", "M"), (), 2)
DYADIC = Normalization("dyadic")
OFF = {
    "crop": 0, "padding": "constant", "flip": "none", "rotation": 0.0, "erasing": 0.0,
    "erasing_scale": [0.02, 0.1], "cutout": 0,
}  # fmt: skip
ALL_ON = {
    "crop": 2, "padding": "reflect", "flip": "alternating", "rotation": 10.0, "erasing": 0.5,
    "erasing_scale": [0.02, 0.1], "cutout": 4,
}  # fmt: skip
RECIPE = {
    "epochs": 3, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9,
    "nesterov": True, "weight_decay": 5e-4, "decay": "all", "schedule": "one_cycle",
    "warmup": 0.3, "final_learning_rate": 1e-6, "label_smoothing": 0.1, "average": 0.0,
    "patience": 0, "augment": OFF | {"crop": 2, "flip": "random"}, "precision": "bfloat16",
    "device": "cpu", "threads": 2, "processes": 1,
}  # fmt: skip
# All that has a state of its own: momentum, average, generators, sides, the plateau's losses.
STATEFUL = {"schedule": "plateau", "average": 0.9, "augment": ALL_ON, "threads": 1}


def augment(**changes: Any) -> Augment:
    return Augment.model_validate(OFF | changes)


def recipe(**changes: Any) -> Train:
    return Train.model_validate(RECIPE | changes)


def images(count: int, seed: int, wrong_labels: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Draw images that are dark or bright; some labels are wrong, so that parts differ."""
    generator = np.random.default_rng(seed)
    bright = generator.integers(0, 2, count)
    pixels = generator.integers(0, 120, (count, 3, 32, 32)) + 90 * bright[:, None, None, None]
    return pixels.astype(np.uint8), bright ^ (generator.random(count) < wrong_labels)


def dataset(training_images: int = 60, wrong_labels: float = 0.25) -> Dataset:
    counts = (training_images, 30, 20)
    parts = [images(count, seed, wrong_labels) for seed, count in enumerate(counts)]
    return Dataset(*(array for part in parts for array in part), classes=("dark", "bright"))


def workplace(folder: Path, *, training_images: int = 60, **train: Any) -> Path:
    """Make a folder in which the stage can run."""
    values = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    values["model"] = {"layout": [4, "M", 4, "M", "M"], "hidden": [6]}
    values["train"] |= {"epochs": 3, "batch_size": 8, "patience": 0} | train
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    dataset(training_images).save(folder / "data/dataset.npz")
    return folder


def edit(folder: Path, key: str, value: Any) -> None:
    """Change a dotted key of the folder's params.yaml."""
    path = folder / "params.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    section, _, name = key.rpartition(".")
    (values[section] if section else values)[name] = value
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def run(folder: Path, script: Path = SCRIPT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | env, timeout=300,
    )  # fmt: skip


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def fit(
    dataset: Dataset, seed: int = 0, checkpoints: Checkpoints | None = None, **changes: Any
) -> tuple[nn.Sequential, Fit, list[Epoch]]:
    """Train a small network; return it, the result, and the rows that the callbacks were given."""
    torch.manual_seed(seed)
    network, rows = SMALL.build(), []
    result = loop.fit(
        network, dataset, DYADIC, recipe(**changes), seed=seed, checkpoints=checkpoints,
        on_epoch=lambda history: rows.append(history[-1]), on_resume=rows.extend,
    )  # fmt: skip
    return network, result, rows


def all_rates(train: Train, steps: int) -> list[float]:
    """List the rates of a whole run whose losses do not matter."""
    epochs = [learning_rates(train, steps, [1.0] * epoch) for epoch in range(train.epochs)]
    assert all(len(epoch) == steps for epoch in epochs)
    return [rate for epoch in epochs for rate in epoch]
