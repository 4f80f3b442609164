"""Runs of the stage train that several tests compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import STATEFUL, load_stage, run, workplace

from powtwo.dataset.images import Dataset

EPOCHS = 6
torch.set_num_threads(
    1
)  # more gain nothing on images so few, and wait for each other on busy cores


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder and the output of a run in one process."""
    folder = workplace(tmp_path_factory.mktemp("one") / "run", epochs=EPOCHS, **STATEFUL)
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""  # no progress bar where nobody watches
    return folder, process.stdout


@pytest.fixture
def stage() -> Iterator[Any]:
    """Import the stage's script, and leave PyTorch's settings as they were."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield load_stage()
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noisy stripes: horizontal ones are class 0, vertical ones class 1."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    horizontal = (np.arange(32) // 4 % 2 * 120)[:, None] * np.ones((1, 32))
    images = np.where(labels[:, None, None], horizontal.T, horizontal)[:, None].repeat(3, axis=1)
    noisy = images + generator.integers(0, 130, images.shape)
    return noisy.astype(np.uint8), labels


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    parts = [stripes(count, seed) for seed, count in enumerate((100, 30, 20))]
    arrays = (array for part in parts for array in part)
    return Dataset(*arrays, classes=("horizontal", "vertical"))
