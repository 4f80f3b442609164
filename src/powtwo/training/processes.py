"""Several processes that train one network, each on its share of every batch.

`train.processes: N` makes the stage start itself again under torchrun, N times on this machine.
Started by torchrun already, on one host or several, it joins the others.

Sources:
1. torchrun: https://pytorch.org/docs/stable/elastic/run.html
2. DistributedDataParallel: Li et al. 2020, https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from powtwo.training import devices
from powtwo.training.params import Train

PATIENCE = timedelta(seconds=5)  # for process 0, to say that it has failed as well
WATCH = 1.0  # seconds between two looks at whether torchrun is still there


@dataclass(frozen=True)
class Group:
    """The processes of a run; every method does nothing where there is only one."""

    rank: int = 0  # of this process; 0 writes the files
    size: int = 1  # processes
    local: int = 0  # rank on this host, which is the number of its GPU

    def share(self, batch_size: int) -> slice:
        """Return which images of a batch are this process's.

        Raises:
            ValueError: where the processes cannot have equal shares.
        """
        count, rest = divmod(batch_size, self.size)
        if rest:
            raise ValueError(
                f"train.processes = {self.size}: must divide the batch of {batch_size} images; "
                "change it or train.batch_size"
            )
        return slice(self.rank * count, (self.rank + 1) * count)

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Make a network whose gradients are means over all processes (source 2)."""
        if self.size == 1:
            return network
        # Running statistics are averaged once an epoch instead of copied from rank 0 each step.
        ids = [device] if device.type == "cuda" else None
        with warnings.catch_warnings():
            # PyTorch 2.13 has a new name for it, which 2.11 does not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return nn.parallel.DistributedDataParallel(
                network, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def average(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor.div_(self.size)

    def agree(self, tensor: Tensor) -> Tensor:
        """Return what process 0 gave; every process must give a tensor of this shape and type."""
        if self.size > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def agree_on_bytes(self, data: bytes | None, device: torch.device) -> bytes | None:
        """Return what process 0 gave, which may lie on another host."""
        if self.size == 1:
            return data
        length = self.agree(torch.tensor(-1 if data is None else len(data), device=device))
        if int(length) < 0:
            return None
        # What the others have may be of another length, and is only to be overwritten.
        mine = data if self.rank == 0 and data is not None else bytes(int(length))
        sent = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        return self.agree(sent.to(device)).cpu().numpy().tobytes()


ALONE = Group()


def must_launch(train: Train) -> bool:
    """Say whether the stage was asked for several processes and is not one of them."""
    return train.processes > 1 and "RANK" not in os.environ


def launch(train: Train, script: Path) -> NoReturn:
    """Run `script` under torchrun (source 1), and end as its processes end.

    Raises:
        ValueError: where there is no GPU for each of them, before all of them say so.
        SystemExit: with their exit code; a process that fails has said why itself.
        ChildProcessError: where a signal ended one, which then could say nothing.
    """
    devices.check(train.device, train.processes - 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(train.threads))  # or torchrun says 1
    logging.disable(logging.ERROR)  # torchrun's own account of what the processes say themselves
    from torch.distributed import run as torchrun  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    options = ["--standalone", f"--nproc-per-node={train.processes}", str(script)]
    try:
        torchrun.run(torchrun.parse_args(options))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            raise SystemExit(failure.exitcode) from None
        raise ChildProcessError(
            f"train.processes = {train.processes}: process {rank} was ended by "
            f"{failure.signal_name()}; run it again, and it goes on after its last epoch"
        ) from None
    except SignalException as error:  # torchrun has passed it on
        raise SystemExit(128 + error.sigval) from None
    raise SystemExit(0)


@contextmanager
def joined(train: Train) -> Iterator[Group]:
    """Join the processes that torchrun started; alone where it started none.

    Raises:
        ValueError: where it started another number than `train.processes`, or there is no GPU for
            each of them.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size != train.processes:
        raise ValueError(
            f"train.processes = {train.processes}: torchrun started {size}; they must be equal"
        )
    if size == 1:
        yield ALONE
        return
    local = int(os.environ["LOCAL_RANK"])
    devices.prepare(train.device, local)  # NCCL would complain of a missing GPU in its own way
    dist.init_process_group("nccl" if train.device == "cuda" else "gloo")
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        yield Group(dist.get_rank(), size, local)
    except Exception:
        _let_the_first_speak(dist.get_rank())
        raise  # the group stays: NCCL's end waits for the others, and they for this process
    dist.destroy_process_group()


def defer_to_rank0() -> NoReturn:
    """End after a process that has failed had the time to say why, which then holds for all.

    Raises:
        SystemExit: always.
    """
    time.sleep(2 * PATIENCE.total_seconds())  # it waits PATIENCE itself; torchrun may end all then
    raise SystemExit(1)


def _exit_with_parent(parent: int) -> None:
    """End this process when torchrun does: killed, it can tell nobody, and training would go on."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)


def _let_the_first_speak(rank: int) -> None:
    """End quietly where process 0 has failed too: what stops all, one should say.

    Raises:
        SystemExit: where process 0 speaks for this one.
    """
    store = dist.distributed_c10d._get_default_store()
    if rank == 0:
        store.set("failed", "")
        return
    try:
        store.wait(["failed"], PATIENCE)
    except RuntimeError:  # an error of this process alone
        return
    time.sleep(PATIENCE.total_seconds())  # torchrun ends all when one ends: process 0 goes first
    raise SystemExit(1)
