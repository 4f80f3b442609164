"""Several processes on one host and on two: equal to one, killed, failing, with other parameters.

Two torchrun agents with a folder each stand for two hosts: all that they share is the rendezvous.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_runs import (
    DYADIC,
    KILLED,
    OUTPUTS,
    SCRIPT,
    STATEFUL,
    edit,
    outputs,
    run,
    workplace,
)  # fmt: skip

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.network.architecture import LAB_IMAGE, of_model
from powtwo.network.checkpoint import Checkpoint
from powtwo.sidecar import schema
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentSampler
from powtwo.training.learning_rate import learning_rates

CPU = torch.device("cpu")
BATCH, EPOCHS = 8, 4
PAIR = STATEFUL | {"processes": 2, "epochs": EPOCHS, "precision": "float32"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run in two processes that nothing disturbed."""
    folder = workplace(tmp_path_factory.mktemp("pair") / "run", **PAIR)
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr.startswith("warning: ")  # of few steps, by process 0 alone
    assert process.stderr.count("\n") == 1
    printed = [line.split(":")[0] for line in process.stdout.splitlines()]
    assert printed == [f"epoch {n}/{EPOCHS}" for n in range(1, EPOCHS + 1)]  # by process 0 alone
    return folder


def accumulated(
    folder: Path, validation_losses: list[float], best: int
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train by hand: no Trainer, no DistributedDataParallel; accumulate gradients of two halves.

    Returns the losses, and the average of the weights after the best epoch.
    """
    params = schema.load(folder / "params.yaml")
    train, data = params.train, Dataset.load(folder / "data/dataset.npz")
    torch.manual_seed(params.seed)
    network = of_model(params.model, LAB_IMAGE, 2).build()
    network.to(memory_format=torch.channels_last).train()
    averages = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(
        network.parameters(), 1.0, train.momentum, 0, train.weight_decay, train.nesterov
    )
    steps, count = len(data.x_train) // BATCH, 0
    images = TrainingImages(torch.from_numpy(data.x_train), train.augment, CPU)
    sampler = AugmentSampler(data.x_train.shape, train.augment, params.seed)
    labels, losses, weights = torch.from_numpy(data.y_train), [], {}
    for epoch in range(EPOCHS):
        rates, plain = learning_rates(train, steps, validation_losses[:epoch]), 0.0
        draws = sampler.epoch(epoch + 1, steps, BATCH).steps(CPU)
        for drawn, rate in zip(draws, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            x, y = DYADIC(images.batch(drawn)), labels[drawn.rows]
            for half in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH)):
                logits = network(x[half])
                loss = F.cross_entropy(logits, y[half], label_smoothing=train.label_smoothing)
                (loss / 2).backward()
                plain += F.cross_entropy(logits, y[half]).item() / 2 / steps
            optimizer.step()
            count += 1
            decay = min(train.average, (1 + count) / (10 + count))
            for name, p in network.named_parameters():
                averages[name].lerp_(p.detach(), 1 - decay)
        losses.append(plain)
        if epoch + 1 == best:
            weights = {name: average.clone() for name, average in averages.items()}
    return losses, weights


@pytest.mark.slow
def test_two_processes_are_one_that_accumulates(pair: Path) -> None:
    with (pair / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    best = files.read_json(pair / "metrics/train.json")["best_epoch"]
    losses, weights = accumulated(pair, [float(row["validation_loss"]) for row in rows], best)
    assert [float(row["train_loss"]) for row in rows] == pytest.approx(losses, rel=1e-4)
    stored = Checkpoint.load(pair / "models/float.safetensors").weights
    for name, weight in weights.items():
        torch.testing.assert_close(stored[name], weight, rtol=1e-3, atol=1e-5)


def on_two_hosts(folders: list[Path]) -> list[tuple[int, str, str]]:
    """Start what docs/training.md says on each host; return exit codes, output and errors."""
    rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}"]
    command = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *rendezvous]
    hosts = [
        subprocess.Popen(
            [sys.executable, *command, "--rdzv-id=powtwo", str(SCRIPT)],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    ends = [process.communicate(timeout=300) for process in hosts]
    return [(process.returncode, *end) for process, end in zip(hosts, ends, strict=True)]


def free_port() -> int:
    """Return a port below those that the system hands out, so that nobody else is given it."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)):
                return port
    raise AssertionError("no port is free")


@pytest.mark.slow
def test_a_killed_pair_resumed_on_two_hosts_ends_with_the_same_bytes(
    tmp_path: Path, pair: Path
) -> None:
    folder = workplace(tmp_path / "a", **PAIR)
    process = run(folder, KILLED, KILL="step 10")  # one of two processes, in epoch 2
    assert process.returncode not in (0, -signal.SIGKILL)
    assert process.stdout.startswith("epoch 1/4: ")
    # `run` returns when the last process that writes to its pipes has ended.
    process = run(folder, KILLED, KILL="step 10 torchrun")  # in epoch 3
    assert process.returncode == -signal.SIGKILL
    resumed, *printed = process.stdout.splitlines()
    assert resumed.endswith(": goes on after epoch 1")
    assert [line.split(":")[0] for line in printed] == ["epoch 2/4"]
    assert not any((folder / name).exists() for name in OUTPUTS[:2])

    shutil.copytree(folder, tmp_path / "b")
    for host in (folder, tmp_path / "b"):
        (host / OUTPUTS[2]).unlink()
    ends = on_two_hosts([folder, tmp_path / "b"])
    assert [code for code, _, _ in ends] == [0, 0], ends
    writes = [(host / OUTPUTS[0]).exists() for host in (folder, tmp_path / "b")]
    assert sorted(writes) == [False, True]
    first, other = (tmp_path / name for name in ("ab" if writes[0] else "ba"))
    assert outputs(first) == outputs(pair)
    assert not any((other / name).exists() for name in OUTPUTS)
    assert not list((first / "checkpoints").iterdir())
    _, printed_by_first, _ = ends[writes.index(True)]
    assert printed_by_first.splitlines()[0].endswith(": goes on after epoch 2")
    # Who prints the epochs has the files.
    assert [output.count("\nepoch ") for _, output, _ in ends] == [2 * wrote for wrote in writes]


@pytest.mark.slow
def test_a_host_with_other_parameters_stops_both_in_one_line(tmp_path: Path) -> None:
    folders = [workplace(tmp_path / name, **PAIR) for name in ("a", "b")]
    edit(folders[1], "model.hidden", [7, 123])  # a fingerprint of another length, other shapes
    ends = on_two_hosts(folders)
    assert all(code for code, _, _ in ends)
    errors = [line for _, _, err in ends for line in err.splitlines() if line.startswith("train: ")]
    assert len(errors) == 1, errors
    assert errors[0].startswith("train: process 1: differs from process 0 in params.yaml: model; ")
    assert not any(f'File "{SCRIPT}"' in err for _, _, err in ends)  # no traceback of ours
    assert not any((folder / name).exists() for folder in folders for name in OUTPUTS)


@pytest.mark.slow
def test_a_pair_that_diverges_says_so_in_one_line(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "wild", **PAIR | {"learning_rate": 1e30, "schedule": "cosine"})
    process = run(folder)
    assert process.returncode == 1
    _, line = process.stderr.splitlines()  # the first warns of few steps
    assert line.startswith("train: loss = ")
    assert not any((folder / name).exists() for name in OUTPUTS)
