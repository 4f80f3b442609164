"""Two processes against one that accumulates the gradients of the same two half-batches."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from test_train_stage import run, workplace

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint
from powtwo.sidecar import schema as params
from powtwo.training import schedules
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentSampler
from powtwo.training.processes import Group

BATCH, EPOCHS = 8, 2
DYADIC = Normalization("dyadic")


def accumulated(folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train by hand: no Trainer, no DistributedDataParallel; return losses and weights."""
    values = params.load(folder / "params.yaml")
    recipe, data = values.train, Dataset.load(folder / "data/dataset.npz")
    torch.manual_seed(values.seed)
    network = Architecture(tuple(values.model.layout), tuple(values.model.hidden), 2).build()
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        network.parameters(), 1.0, recipe.momentum, 0, recipe.weight_decay, recipe.nesterov
    )
    cpu, steps = torch.device("cpu"), len(data.x_train) // BATCH
    images = TrainingImages(torch.from_numpy(data.x_train), recipe.augment, cpu)
    chance, labels = (
        AugmentSampler(len(data.x_train), recipe.augment, values.seed),
        torch.from_numpy(data.y_train),
    )
    losses = []
    for epoch in range(EPOCHS):
        rates, plain = schedules.rates(recipe, steps, [1.0] * epoch), []
        for drawn, rate in zip(
            chance.epoch(epoch + 1, steps, BATCH).steps(cpu), rates, strict=True
        ):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            x, y = DYADIC(images.batch(drawn)), labels[drawn.rows]
            for half in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH)):
                logits = network(x[half])
                (
                    F.cross_entropy(logits, y[half], label_smoothing=recipe.label_smoothing) / 2
                ).backward()
                plain.append(F.cross_entropy(logits, y[half]).item())
            optimizer.step()
        losses.append(float(np.mean(plain)))
    return losses, dict(network.named_parameters())


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workplace(
        tmp_path_factory.mktemp("processes") / "two",
        processes=2, epochs=EPOCHS, batch_size=BATCH, precision="float32", threads=1,
    )  # fmt: skip
    # The stage keeps its best epoch; where all images are alike to validation, that is the last.
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert [line.split(":")[0] for line in process.stdout.splitlines()] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    return folder


def test_two_processes_are_one_that_accumulates(together: Path) -> None:
    losses, weights = accumulated(together)
    with (together / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["train_loss"]) for row in rows], losses, rtol=1e-5)
    best = yaml.safe_load((together / "metrics/train.json").read_text())["best_epoch"]
    assert best == EPOCHS, "the weights of the last epoch are those to compare"
    found = Checkpoint.load(together / "models/float.safetensors").weights
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.detach(), rtol=1e-4, atol=1e-6)


def test_a_batch_is_shared_evenly_and_whole() -> None:
    shares = [Group(rank, 4).share(12) for rank in range(4)]
    assert [list(range(12))[share] for share in shares] == [
        [3 * r, 3 * r + 1, 3 * r + 2] for r in range(4)
    ]
    with pytest.raises(
        ValueError, match=r"train\.processes = 4: must divide the batch of 10 images"
    ):
        Group(0, 4).share(10)
