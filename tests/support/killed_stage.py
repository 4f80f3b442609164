"""The stage train, or finetune where a scheme is named, killed where the variable KILL says.

KILL is a point and how many times it is passed, such as `step 9`:

    step     the next step of the training, within an epoch
    saving   half of a checkpoint is written
    saved    the checkpoint of an epoch is written, its learning curves are not
    outputs  training has ended, and the network is written, its metrics are not

Of several processes, process 1 is killed; or the torchrun that started it, with `step 9 torchrun`.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

import finetune
import train
from powtwo.training import reporting
from powtwo.training.trainer import Trainer

PLACES = {
    "step": (Trainer, "step"),
    "saving": (torch, "save"),
    "saved": (reporting.Reporter, "__call__"),
    "outputs": (reporting, "metrics"),
}


def main() -> None:
    point, count, *victim = os.environ["KILL"].split()
    if os.environ.get("RANK", "1") == "1":
        arm(point, int(count), os.getppid() if victim == ["torchrun"] else os.getpid())
    stage = finetune if sys.argv[1:] else train
    stage.__file__ = __file__  # what torchrun is to start
    stage.main(*sys.argv[1:])


def arm(point: str, count: int, victim: int) -> None:
    """Have the call number `count` of what PLACES says kill the process `victim` instead."""
    owner, name = PLACES[point]
    original = getattr(owner, name)
    calls = 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls < count:
            return original(*arguments)
        if point == "saving":
            value, file = arguments
            original(value, whole := io.BytesIO())
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
        os.kill(victim, signal.SIGKILL)
        time.sleep(300)  # where torchrun was the victim, this process must notice and end
        raise AssertionError("a process has outlived torchrun")

    setattr(owner, name, counted)


if __name__ == "__main__":
    main()
