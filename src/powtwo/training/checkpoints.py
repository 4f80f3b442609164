"""Where a run stands, saved after every epoch, so that one that was killed goes on.

A checkpoint is a file of its own for each fingerprint of code, parameters and data. A run goes on
only from the one with its own fingerprint; those of other runs stay, for when their parameters
come back, until someone removes them. Nothing is ever unpickled but tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from powtwo.core import files
from powtwo.training.processes import ALONE, Group, defer_to_rank0

FOLDER = Path("checkpoints")  # neither DVC nor Git looks into it
State = dict[str, Any]  # tensors, numbers, text, and lists and dicts of them


class Checkpoints:
    """The checkpoint of one run, and none of another's."""

    def __init__(
        self, marks: Mapping[str, str], folder: Path = FOLDER, group: Group = ALONE
    ) -> None:
        """Take the fingerprint `marks`: a name and a digest for all that the run depends on."""
        # Plain text: torch.__version__ is a class of its own, which no checkpoint may hold.
        self._marks = {name: str(mark) for name, mark in marks.items()}
        self._folder, self._group = folder, group
        digest = hashlib.sha256(json.dumps(self._marks, sort_keys=True).encode()).hexdigest()
        self._path = folder / f"train-{digest[:16]}.pt"

    def read(self, device: torch.device) -> State | None:
        """Return where this run stood, if it did; process 0 reads the file for all."""
        stored = None
        if self._group.rank == 0:
            self._mention_others()
            stored = self._path.read_bytes() if self._path.exists() else None
        shared = self._group.agree_on_bytes(stored, device)
        return self._state(shared) if shared is not None else None

    def write(self, state: State) -> None:
        """Keep where the run stands, in place of what was kept before."""
        if self._group.rank == 0:
            with files.atomic(self._path) as path, path.open("wb") as file:
                torch.save({"marks": self._marks, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())  # a power failure must not leave half of it

    def remove(self) -> None:
        """Forget this run, which has ended well, and what a killed one was writing."""
        if self._group.rank == 0:
            self._path.unlink(missing_ok=True)
            for unfinished in self._folder.glob(f".writing-{self._path.name}-*"):
                shutil.rmtree(unfinished)

    def _state(self, stored: bytes) -> State | None:
        found = _load(io.BytesIO(stored))
        if found is None or found["marks"] != self._marks:
            self._say(f"{self._path}: is broken, or of another run; starts from the beginning")
            return None
        state: State = found["state"]
        self._say(f"{self._path}: goes on after epoch {len(state['history'])}")
        return state

    def _mention_others(self) -> None:
        """Say on one line that there is a checkpoint which this run does not go on from."""
        others = sorted(self._folder.glob("train-*.pt"), key=lambda path: path.stat().st_mtime)
        if others and not self._path.exists():
            found = _load(others[-1]) or {"marks": {}}
            names = self._marks.keys() | found["marks"].keys()
            differ = sorted(n for n in names if self._marks.get(n) != found["marks"].get(n))
            if not differ:  # a copy of this run's own
                return
            more = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
            self._say(f"{others[-1]}: not used, as it differs in {differ[0]}{more}")

    def check_equal(self, device: torch.device) -> None:
        """Compare the fingerprints of all processes.

        Raises:
            ValueError: where this one runs on other code, parameters or data than process 0.
            SystemExit: where another one does, which says so.
        """
        mine = json.dumps(self._marks, sort_keys=True).encode()
        first = json.loads(self._group.agree_on_bytes(mine, device) or b"")
        differ = sorted(name for name, mark in self._marks.items() if first.get(name) != mark)
        differs = torch.tensor(float(bool(differ)), device=device)
        self._group.average([differs])  # of all: each must know not to wait for the others' steps
        if differ:
            raise ValueError(
                f"process {self._group.rank}: differs from process 0 in {differ[0]}; "
                "give all hosts the same code, parameters, data, PyTorch and kind of processor"
            )
        if differs > 0:
            defer_to_rank0()

    def _say(self, line: str) -> None:
        if self._group.rank == 0:
            print(line, flush=True)


def _load(file: Path | io.BytesIO) -> State | None:
    """Read a checkpoint without running code that it may hold; None where it is none."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=isinstance(file, Path))
        return found if {"marks", "state"} <= found.keys() else None
    except Exception:  # bytes that are no checkpoint make the reader fail in any way
        return None
