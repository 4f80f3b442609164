"""Inputs of stages, damaged at random: a clean line, or what was written. `--fuzz N` draws more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import damage
import pytest
import torch
from export_cases import dataset, odd_network
from networks import random_network
from small_vgg import CHECKPOINT, calibration, options_of

from powtwo.conversion.calibrated import Calibrated
from powtwo.dataset.images import Dataset
from powtwo.evaluation import float_classes
from powtwo.integer import shapes
from powtwo.integer.network import IntegerNetwork
from powtwo.network.checkpoint import Checkpoint
from powtwo.training.checkpoints import Checkpoints

Mutation = Callable[[bytes, int], bytes]
ANY: tuple[Mutation, ...] = (damage.mutated,)
OURS: tuple[Mutation, ...] = (damage.mutated, damage.mutated_description, damage.mutated_header)
MOST = 400  # characters of a line


@dataclass(frozen=True)
class Kind:
    """A kind of file: how one is written, and read and written again."""

    write: Callable[[Path], object]
    copy: Callable[[Path, Path], object]
    mutations: tuple[Mutation, ...] = OURS


def write_training(path: Path) -> None:
    training(path).write({"history": [(1, 0.5)], "tensor": torch.arange(300)})


def copy_training(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    state = training(source).read()
    assert state
    training(target).write(state)


def training(path: Path) -> Checkpoints:
    checkpoints = Checkpoints({"seed": "0"}, path.parent)
    checkpoints._path = path
    return checkpoints


def copy_network(source: Path, target: Path) -> None:
    shapes.read(source)  # what needs no PyTorch refuses the same
    IntegerNetwork.load(source).save(target)


NETWORK, ODD = random_network(1, per_channel=True, kind="power_of_two"), odd_network()
CALIBRATED = calibration(options_of(equalize=True, bias_correction=True))
IMAGES = dataset(NETWORK)
KINDS = {
    "integer": Kind(NETWORK.save, copy_network),
    "integer, standard": Kind(ODD.save, copy_network),
    "calibrated": Kind(CALIBRATED.save, lambda a, b: Calibrated.load(a).save(b)),
    "float": Kind(CHECKPOINT.save, lambda a, b: Checkpoint.load(a).save(b)),
    "training": Kind(write_training, copy_training, ANY),
    "images": Kind(IMAGES.save, lambda a, b: Dataset.load(a).save(b), ANY),
    "classes": Kind(
        lambda path: float_classes.write(path, torch.arange(100) % 10),
        lambda a, b: float_classes.write(b, float_classes.read(a, 100, 10)),
        ANY,
    ),
}


def refusal(path: Path, read: Callable[[], object]) -> str | None:
    """Return why a file was refused, which must be said well."""
    try:
        read()
    except ValueError as error:
        place, line = str(error)[: len(f"{path}: ")], str(error)[len(f"{path}: ") :]
        assert place == f"{path}: "
        assert line.isprintable()
        assert len(line) < MOST, line
        return line
    return None


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_as_it_was(name: str, tmp_path: Path, fuzz: int) -> None:
    kind, whole, copy = KINDS[name], tmp_path / "whole.pt", tmp_path / "copy.pt"
    kind.write(whole)
    kind.copy(whole, copy)
    original, path = whole.read_bytes(), tmp_path / "damaged.pt"
    assert copy.read_bytes() == original
    whole.unlink()
    for seed in range(fuzz):
        for mutation in kind.mutations:
            path.write_bytes(mutation(original, seed))
            if refusal(path, lambda: kind.copy(path, copy)) is None:
                assert copy.read_bytes() == original, (mutation, seed)


@pytest.mark.parametrize("network", [NETWORK, ODD], ids=["powers", "standard"])
def test_a_network_without_a_digest_is_refused_or_runs(
    network: IntegerNetwork, tmp_path: Path, fuzz: int
) -> None:
    path = tmp_path / "network"
    network.save(path)
    original = damage.edited(path.read_bytes(), lambda values: values.pop("sha256"))
    for seed in range(fuzz):
        for mutation in OURS:
            path.write_bytes(mutation(original, seed))
            if refusal(path, lambda: runs(path)) is None:
                shapes.read(path)


def runs(path: Path) -> None:
    network = IntegerNetwork.load(path)
    pixels = torch.full((2, *network.input.shape), 200, dtype=torch.uint8)
    try:
        logits = network.logits(pixels)
    except ValueError as error:
        raise AssertionError(error) from error
    assert logits.shape == (2, len(network.classes))
