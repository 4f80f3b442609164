"""Several processes on one host and on two: killed, failing, and with other code or data.

Two torchrun agents with a folder each stand for two hosts: all that they share is the rendezvous.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_resume import RECIPE, kill_after, outputs, start
from test_train_stage import OUTPUTS, SCRIPT, assert_diverged, run, workplace
from test_training import SMALL, recipe
from torch import nn

from powtwo.training import devices, processes
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.processes import Group
from powtwo.training.trainer import Trainer

CPU = torch.device("cpu")
PAIR = RECIPE | {"processes": 2, "epochs": 6, "threads": 1}
slow = pytest.mark.pipeline


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = workplace(tmp_path_factory.mktemp("undisturbed") / "run", **PAIR)
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return outputs(folder)


def workers(agent: int) -> list[int]:
    """List the processes that a torchrun has started, by rank."""
    return [int(pid) for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split()]


@slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers under /proc")
def test_a_killed_pair_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    folder = workplace(tmp_path / "killed", **PAIR)
    kill_after(folder, 1)  # torchrun itself, which leaves its processes alone
    with start(folder) as agent:
        assert agent.stdout
        assert "goes on after epoch" in agent.stdout.readline()
        assert agent.stdout.readline().startswith("epoch ")
        os.kill(workers(agent.pid)[1], signal.SIGKILL)  # one of two
        assert agent.wait(timeout=60) != 0
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert "goes on after epoch" in process.stdout.splitlines()[0]
    assert outputs(folder) == undisturbed
    assert not list((folder / "checkpoints").iterdir())


@slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers under /proc")
def test_no_process_outlives_torchrun(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "killed", **PAIR | {"epochs": 500})
    with start(folder) as agent:
        assert agent.stdout
        assert agent.stdout.readline().startswith("epoch ")
        agent.kill()
        started = time.monotonic()
        agent.stdout.read()  # ends when the last process that writes to it has ended
    assert time.monotonic() - started < 15
    assert not (folder / OUTPUTS[0]).exists()


@slow
def test_a_pair_that_diverges_says_so_in_one_line(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "wild", **PAIR | {"learning_rate": 1e30, "schedule": "cosine"})
    assert_diverged(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def host(folder: Path, port: int) -> subprocess.Popen[str]:
    """Start what docs/training.md says to start on each of two hosts."""
    rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=powtwo"]
    command = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *rendezvous]
    return subprocess.Popen(
        [sys.executable, *command, str(SCRIPT)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def both(folders: list[Path]) -> list[tuple[int, str, str]]:
    """Run a host in each folder; return their exit codes, output and errors."""
    port = free_port()
    hosts = [host(folder, port) for folder in folders]
    told = [process.communicate(timeout=120) for process in hosts]
    return [(process.returncode, *each) for process, each in zip(hosts, told, strict=True)]


@slow
def test_two_hosts_give_the_bytes_of_one(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folders = [workplace(tmp_path / name, **PAIR) for name in ("a", "b")]
    told = both(folders)
    assert [code for code, _, _ in told] == [0, 0], told
    writes = [(folder / OUTPUTS[0]).exists() for folder in folders]
    assert sorted(writes) == [False, True]
    first, other = folders if writes[0] else folders[::-1]
    assert outputs(first) == undisturbed
    assert not any((other / name).exists() for name in OUTPUTS)
    printed = [sum(line.startswith("epoch ") for line in out.splitlines()) for _, out, _ in told]
    assert printed == [6 * wrote for wrote in writes]  # who prints the epochs has the files


def another_seed(values: dict[str, Any]) -> None:
    values["seed"] += 1


def another_network(values: dict[str, Any]) -> None:
    """Make a fingerprint of another length, and weights of another shape."""
    values["model"]["hidden"] = [7, 123]


@slow
@pytest.mark.parametrize(
    ("section", "select"), [("seed", another_seed), ("model", another_network)]
)
def test_a_host_with_other_parameters_stops_both(
    tmp_path: Path, section: str, select: Callable[[dict[str, Any]], None]
) -> None:
    folders = [workplace(tmp_path / name, **PAIR) for name in ("a", "b")]
    values = yaml.safe_load((folders[1] / "params.yaml").read_text())
    select(values)
    (folders[1] / "params.yaml").write_text(yaml.safe_dump(values))
    told = both(folders)
    assert all(code for code, _, _ in told)
    said = [line for _, _, err in told for line in err.splitlines() if line.startswith("train: ")]
    assert f"train: process 1: differs from process 0 in params.yaml: {section}" in said[0]
    assert len(said) == 1
    assert not any(f'File "{SCRIPT}"' in err for _, _, err in told)  # no traceback of ours
    assert not any((folder / name).exists() for folder in folders for name in OUTPUTS)


# Without a second process


def test_a_stage_that_torchrun_started_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with (
        pytest.raises(ValueError, match=r"train\.processes = 2: torchrun started 3; they must"),
        processes.joined(recipe(processes=2)),
    ):
        raise AssertionError("joined")


def test_another_process_with_other_data_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Group, "agree_on_bytes", lambda *_: b'{"seed": "0", "the images": "ab"}')
    monkeypatch.setattr(Group, "average", lambda *_: None)
    mine = Checkpoints({"seed": "0", "the images": "cd"}, tmp_path, Group(1, 2))
    with pytest.raises(ValueError, match="process 1: differs from process 0 in the images; give"):
        mine.check_equal(CPU)


@pytest.mark.parametrize("data", [b"", b"ab", b"longer than that of process 0", None])
def test_bytes_of_any_length_are_overwritten(
    monkeypatch: pytest.MonkeyPatch, data: bytes | None
) -> None:
    """Gloo aborts where a process takes part with a buffer of another size."""
    first = b"process 0"

    def broadcast(tensor: torch.Tensor, src: int) -> None:
        assert src == 0
        sent = torch.tensor(len(first) if tensor.dim() == 0 else list(first), dtype=tensor.dtype)
        assert tensor.shape == sent.shape
        tensor.copy_(sent)

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    assert Group(1, 2).agree_on_bytes(data, CPU) == first


def test_a_process_that_fails_does_not_end_the_group_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL's way to end it waits for the other processes, which wait for this one's gradients."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    ended: list[bool] = []
    monkeypatch.setattr(processes, "_exit_with_parent", lambda _: None)
    monkeypatch.setattr(processes, "_let_the_first_speak", lambda _: None)
    monkeypatch.setattr(processes.dist, "init_process_group", lambda _: None)
    monkeypatch.setattr(processes.dist, "get_rank", lambda: 0)
    monkeypatch.setattr(processes.dist, "destroy_process_group", lambda: ended.append(True))
    with pytest.raises(ZeroDivisionError), processes.joined(recipe(processes=2)):
        raise ZeroDivisionError
    assert not ended
    with processes.joined(recipe(processes=2)):
        pass
    assert ended


def test_a_missing_gpu_is_said_before_nccl_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ValueError, match=r"process 1 .* would need GPU 1, and PyTorch sees 1"),
        processes.joined(recipe(processes=2, device="cuda")),
    ):
        raise AssertionError("joined")


def test_a_missing_gpu_is_said_once_before_processes_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("torch.distributed.run.run", lambda _: pytest.fail("torchrun was started"))
    with pytest.raises(ValueError, match=r"process 1 .* would need GPU 1, and PyTorch sees 1"):
        processes.launch(recipe(processes=2, device="cuda"), SCRIPT)


class StopError(Exception):
    """What a test came to see has happened."""


@pytest.mark.parametrize(
    ("size", "device", "asked"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)]
)
def test_batch_norm_is_synchronized_on_gpus(
    monkeypatch: pytest.MonkeyPatch, size: int, device: str, asked: bool
) -> None:
    """That the conversion is asked for, and when; no GPU is there to see it synchronize."""
    network, seen = SMALL.build(), []

    def stop(*_: Any) -> None:
        raise StopError  # the step after it needs the device

    monkeypatch.setattr(devices, "prepare", lambda *_: torch.device(device, 0))
    monkeypatch.setattr(nn.SyncBatchNorm, "convert_sync_batchnorm", seen.append)
    monkeypatch.setattr(nn.Module, "to", stop)
    with pytest.raises(StopError):
        Trainer(network, recipe(), Group(0, size))
    assert seen == ([network] if asked else [])


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


def test_a_try_at_a_smaller_batch_waits_for_nobody() -> None:
    """In training, SyncBatchNorm would wait for processes that do not try."""
    trainer = Trainer(SMALL.build().train(), recipe(precision="float32"))
    modes: list[bool] = []
    trainer.network[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    trainer.attempt(2)
    assert modes == [False]


def test_a_try_at_a_smaller_batch_touches_no_gradient_that_processes_share() -> None:
    """DistributedDataParallel's hooks count each gradient once a step, and the step has begun."""
    trainer = Trainer(SMALL.build().train(), recipe(precision="float32"))
    touched: list[torch.Tensor] = []
    for parameter in trainer.network.parameters():
        parameter.register_post_accumulate_grad_hook(touched.append)
    trainer.attempt(2)
    assert touched == []
    assert trainer.network.training
