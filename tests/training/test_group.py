"""What a process does as one of several, seen without a second process."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock, call

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.elastic.multiprocessing.api import ProcessFailure
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from training_runs import SCRIPT, SMALL, recipe

from powtwo.training import devices, processes
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.processes import Group
from powtwo.training.trainer import Trainer


def environment(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> None:
    """Have torchrun seem to have started this process."""
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))


def test_a_batch_is_shared_evenly_and_whole() -> None:
    shares = [Group(rank, 4).share(12) for rank in range(4)]
    assert shares == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)]
    with pytest.raises(ValueError, match=r"train\.processes = 4: must divide the batch of 10 im"):
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
    run = Mock(side_effect=ChildFailedError("train", {1: failure}))
    monkeypatch.setattr("torch.distributed.run.run", run)
    with pytest.raises(ChildProcessError, match="process 1 was ended by SIGKILL; run it again"):
        processes.launch(recipe(processes=2), SCRIPT)


def test_a_process_that_fails_does_not_end_the_group_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's way to end it waits for the other processes, which wait for this one's gradients."""
    environment(monkeypatch, rank=0)
    destroy = Mock()
    for name in ("_exit_with_parent", "_defer_to_rank0"):
        monkeypatch.setattr(processes, name, Mock())
    for name, replacement in {
        "init_process_group": Mock(),
        "get_rank": Mock(return_value=0),
        "destroy_process_group": destroy,
    }.items():
        monkeypatch.setattr(dist, name, replacement)
    with pytest.raises(ZeroDivisionError), processes.joined(recipe(processes=2)):
        raise ZeroDivisionError
    destroy.assert_not_called()
    with processes.joined(recipe(processes=2)):
        pass
    destroy.assert_called_once()


def test_process_0_reports_an_error_that_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    store, at_exit = dist.TCPStore("localhost", 0, is_master=True), []
    monkeypatch.setattr(processes.dist.distributed_c10d, "_get_default_store", lambda: store)
    monkeypatch.setattr(processes, "RANK0_TIMEOUT", timedelta(milliseconds=100))
    monkeypatch.setattr(processes.atexit, "register", lambda *call: at_exit.append(call))
    processes._defer_to_rank0(1)  # an error of process 1 alone, which it is to report
    processes._defer_to_rank0(0)
    ((function, *arguments),) = at_exit
    function(*arguments)
    with pytest.raises(SystemExit):
        processes._defer_to_rank0(1)
    store = Mock(**{"wait.side_effect": dist.DistNetworkError})
    with pytest.raises(SystemExit):  # nor is anything reported after the host of process 0
        processes._defer_to_rank0(1)


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


@pytest.mark.parametrize(
    ("size", "device", "asked"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)]
)
def test_batch_norm_is_synchronized_on_gpus(
    monkeypatch: pytest.MonkeyPatch, size: int, device: str, asked: bool
) -> None:
    """That the conversion is asked for, and when; no GPU is there to see it synchronize."""
    network, convert = SMALL.build(), Mock()
    monkeypatch.setattr(devices, "prepare", lambda *_: torch.device(device, 0))
    monkeypatch.setattr(nn.SyncBatchNorm, "convert_sync_batchnorm", convert)
    monkeypatch.setattr(nn.Module, "to", Mock(side_effect=InterruptedError))  # needs the device
    with pytest.raises(InterruptedError):
        Trainer(network, recipe(), Group(0, size))
    assert convert.mock_calls == ([call(network)] if asked else [])
