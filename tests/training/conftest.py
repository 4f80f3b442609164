"""Runs of the stage train that several tests compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from training_runs import STATEFUL, run, workplace

import train
from powtwo.dataset.images import Dataset

EPOCHS = 6
# More gain nothing on images so few, and wait for each other on busy cores.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the folder and the output of a run in one process."""
    folder = workplace(tmp_path_factory.mktemp("one") / "run", epochs=EPOCHS, **STATEFUL)
    process = run(folder)
    assert process.returncode == 0, process.stderr
    warning, *others = process.stderr.splitlines()
    assert warning.startswith("warning: 60 training images make 42 steps of 8 images, and a ")
    assert others == []  # no progress bar where nobody watches
    return folder, process.stdout


@pytest.fixture
def stage() -> Iterator[Any]:
    """Give the stage's script, and leave PyTorch's settings as they were."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    yield train
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return training_runs.dataset(100, wrong_labels=0.0)
