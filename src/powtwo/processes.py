"""Several processes that train one network, each on its share of every batch.

`train.processes: N` makes the stage start itself again under torchrun, N times on this machine.
Started by torchrun already, on one host or several, it joins the others.

Sources:
1. torchrun: https://pytorch.org/docs/stable/elastic/run.html
2. DistributedDataParallel: Li et al. 2020, https://arxiv.org/abs/2006.15704
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from powtwo.params import Train


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
        sent = torch.frombuffer(bytearray(data or bytes(int(length))), dtype=torch.uint8)
        return self.agree(sent.to(device)).cpu().numpy().tobytes()


ALONE = Group()


def must_launch(train: Train) -> bool:
    """Say whether the stage was asked for several processes and is not one of them."""
    return train.processes > 1 and "RANK" not in os.environ


def launch(train: Train, script: Path) -> None:
    """Run `script` under torchrun (source 1), in place of this process where there is a way.

    Raises:
        ChildProcessError: where a process failed.
    """
    run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={train.processes}"]
    command = [sys.executable, *run, str(script)]
    environment = {"OMP_NUM_THREADS": str(train.threads)} | os.environ  # or torchrun says 1
    if os.name == "posix":  # signals then reach torchrun, which passes them on
        sys.stdout.flush()
        os.execve(sys.executable, command, environment)
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise ChildProcessError(f"train.processes = {train.processes}: one ended with code {code}")


@contextmanager
def joined(train: Train) -> Iterator[Group]:
    """Join the processes that torchrun started; alone where it started none.

    Raises:
        ValueError: where it started another number than `train.processes`.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size != train.processes:
        raise ValueError(
            f"train.processes = {train.processes}: torchrun started {size}; they must be equal"
        )
    if size == 1:
        yield ALONE
        return
    dist.init_process_group("nccl" if train.device == "cuda" else "gloo")
    try:
        yield Group(dist.get_rank(), size, int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()
