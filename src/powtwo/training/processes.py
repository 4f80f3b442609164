"""Several processes that train one network, each on its share of every batch.

`train.processes: N` makes the stage start itself again under torchrun, N times on this machine.
Started by torchrun already, on one host or several, it joins the others.

Sources:
1. torchrun: https://pytorch.org/docs/stable/elastic/run.html
2. DistributedDataParallel: Li et al. 2020, https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import atexit
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
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from powtwo.training import devices
from powtwo.training.params import Train

RANK0_TIMEOUT = timedelta(seconds=20)  # in which process 0 has failed as well, if it has
PARENT_POLL = 1.0  # seconds between two looks at whether torchrun is still there

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes of a run; every method does nothing where there is only one."""

    rank: int = 0  # of this process; 0 writes the files
    size: int = 1  # processes
    local_rank: int = 0  # rank on this host, which is the number of its GPU

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

    def broadcast(self, value: T) -> T:
        """Return the value of process 0, which may run on another host."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values


SINGLE_PROCESS = Group()


def must_launch(train: Train) -> bool:
    """Tell whether the stage was asked for several processes and is not one of them."""
    return train.processes > 1 and "RANK" not in os.environ


def launch(train: Train, script: Path) -> NoReturn:
    """Run `script` under torchrun (source 1), and end as its processes end.

    Raises:
        ValueError: where there is no GPU for each of them, before any of them starts.
        SystemExit: with their exit code; a process that fails has printed its error itself.
        ChildProcessError: where a signal ended one, which then could print nothing.
    """
    devices.check(train.device, train.processes - 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(train.threads))  # or torchrun says 1
    logging.disable(logging.ERROR)  # torchrun repeats what the processes print
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
        yield SINGLE_PROCESS
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    devices.prepare(train.device, local_rank)  # before NCCL fails on a missing GPU in its own way
    dist.init_process_group("nccl" if train.device == "cuda" else "gloo")
    threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        yield Group(dist.get_rank(), size, local_rank)
    except Exception:
        _defer_to_rank0(dist.get_rank())
        raise  # the group stays: NCCL's end waits for the others, and they for this process
    dist.destroy_process_group()


def _exit_with_parent(parent: int) -> None:
    """End this process when torchrun does: killed, it can tell nobody, and training would go on."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    os._exit(1)


def _defer_to_rank0(rank: int) -> None:
    """Let process 0 alone report an error that stops all.

    Raises:
        SystemExit: where process 0 has reported an error, so that this one need not.
    """
    store = dist.distributed_c10d._get_default_store()
    if rank == 0:
        # At its exit the error has been printed: torchrun ends all processes when one has ended.
        atexit.register(store.set, "reported", "")
        return
    try:
        store.wait(["reported"], RANK0_TIMEOUT)
    except dist.DistNetworkError:
        pass  # the host of process 0 has ended
    except dist.DistStoreError:
        return  # an error of this process alone
    raise SystemExit(1)
