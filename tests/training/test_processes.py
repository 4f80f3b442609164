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
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.elastic.multiprocessing.api import ProcessFailure
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from training_runs import (
    DYADIC,
    KILLED,
    OUTPUTS,
    SCRIPT,
    SMALL,
    STATEFUL,
    edit,
    outputs,
    recipe,
    run,
    workplace,
)  # fmt: skip

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint
from powtwo.sidecar import schema
from powtwo.training import devices, processes
from powtwo.training.augment import TrainingImages
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.draws import AugmentSampler
from powtwo.training.learning_rate import learning_rates
from powtwo.training.processes import Group
from powtwo.training.trainer import Trainer

CPU = torch.device("cpu")
BATCH, EPOCHS = 8, 4
PAIR = STATEFUL | {"processes": 2, "epochs": EPOCHS, "precision": "float32"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run in two processes that nothing disturbed."""
    folder = workplace(tmp_path_factory.mktemp("pair") / "run", **PAIR)
    process = run(folder)
    assert (process.returncode, process.stderr) == (0, "")
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
    network = Architecture.of(params.model, 2).build()
    network.to(memory_format=torch.channels_last).train()
    averages = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(
        network.parameters(), 1.0, train.momentum, 0, train.weight_decay, train.nesterov
    )
    steps, count = len(data.x_train) // BATCH, 0
    images = TrainingImages(torch.from_numpy(data.x_train), train.augment, CPU)
    sampler = AugmentSampler(len(data.x_train), train.augment, params.seed)
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
    (line,) = process.stderr.splitlines()
    assert line.startswith("train: loss = ")
    assert not any((folder / name).exists() for name in OUTPUTS)


# Without a second process


def environment(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> None:
    """Have torchrun seem to have started this process."""
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))


def test_a_batch_is_shared_evenly_and_whole() -> None:
    shares = [Group(rank, 4).share(12) for rank in range(4)]
    assert [list(range(12))[share] for share in shares] == [
        [3 * r, 3 * r + 1, 3 * r + 2] for r in range(4)
    ]
    with pytest.raises(
        ValueError, match=r"train\.processes = 4: must divide the batch of 10 images"
    ):
        Group(0, 4).share(10)


def test_a_stage_that_torchrun_started_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment(monkeypatch, rank=0, size=3)
    with (
        pytest.raises(ValueError, match=r"train\.processes = 2: torchrun started 3; they must"),
        processes.joined(recipe(processes=2)),
    ):
        raise AssertionError("joined")


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_every_process_names_the_one_that_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int
) -> None:
    fingerprints = [{"seed": "0", "the images": images} for images in ("ab", "ab", "cd")]
    monkeypatch.setattr(Group, "broadcast", lambda *_: fingerprints[0])
    monkeypatch.setattr(Group, "gather", lambda _, mine: [[], [], mine or ["the images"]])
    mine = Checkpoints(fingerprints[rank], tmp_path, Group(rank, 3))
    with pytest.raises(ValueError, match="process 2: differs from process 0 in the images; give"):
        mine.check_equal()


def test_a_process_that_a_signal_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = ProcessFailure(1, 123, -signal.SIGKILL, "none")
    monkeypatch.setattr(
        "torch.distributed.run.run",
        lambda _: (_ for _ in ()).throw(ChildFailedError("train", {1: failure})),
    )
    with pytest.raises(ChildProcessError, match="process 1 was ended by SIGKILL; run it again"):
        processes.launch(recipe(processes=2), SCRIPT)


def test_a_process_that_fails_does_not_end_the_group_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's way to end it waits for the other processes, which wait for this one's gradients."""
    environment(monkeypatch, rank=0)
    ended: list[bool] = []
    monkeypatch.setattr(processes, "_exit_with_parent", lambda _: None)
    monkeypatch.setattr(processes, "_defer_to_rank0", lambda _: None)
    monkeypatch.setattr(processes.dist, "init_process_group", lambda _: None)
    monkeypatch.setattr(processes.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: ended.append(True))
    with pytest.raises(ZeroDivisionError), processes.joined(recipe(processes=2)):
        raise ZeroDivisionError
    assert not ended
    with processes.joined(recipe(processes=2)):
        pass
    assert ended


def test_a_missing_gpu_is_said_before_nccl_is_asked_and_before_processes_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = recipe(processes=2, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("torch.distributed.run.run", lambda _: pytest.fail("torchrun was started"))
    refused = r"process 1 .* would need GPU 1, and PyTorch sees 1"
    with pytest.raises(ValueError, match=refused):
        processes.launch(train, SCRIPT)
    environment(monkeypatch, rank=1)
    with pytest.raises(ValueError, match=refused), processes.joined(train):
        raise AssertionError("joined")


class StopError(Exception):
    """What a test came to see has happened."""


@pytest.mark.parametrize(
    ("size", "device", "asked"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)]
)
def test_batch_norm_is_synchronized_on_gpus(
    monkeypatch: pytest.MonkeyPatch, size: int, device: str, asked: bool
) -> None:
    """That the conversion is asked for, and when; no GPU is there to see it synchronize."""
    network, converted = SMALL.build(), []

    def stop(*_: Any) -> None:
        raise StopError  # the step after it needs the device

    monkeypatch.setattr(devices, "prepare", lambda *_: torch.device(device, 0))
    monkeypatch.setattr(nn.SyncBatchNorm, "convert_sync_batchnorm", converted.append)
    monkeypatch.setattr(nn.Module, "to", stop)
    with pytest.raises(StopError):
        Trainer(network, recipe(), Group(0, size))
    assert converted == ([network] if asked else [])


def test_a_converted_network_is_saved_and_read_like_any_other() -> None:
    """The stage keeps the network that it has built, so the conversion must change it in place."""
    network, plain = SMALL.build(), SMALL.build()
    assert nn.SyncBatchNorm.convert_sync_batchnorm(network) is network
    norms = [module for module in network if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms)
    plain.load_state_dict(network.state_dict())
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(network.eval()(x), plain.eval()(x))
