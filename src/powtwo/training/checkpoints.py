"""Where a run stands, saved after every epoch, so that a killed run resumes.

Each fingerprint of code, parameters and data has a checkpoint file of its own. A run resumes only
from the one with its own fingerprint; those of other runs stay, for when their parameters come
back, until someone removes them. Reading a file runs no code that it may hold, and a digest before
its content tells whether it is what was written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from powtwo.core import files, strict
from powtwo.dataset.images import Dataset
from powtwo.training import devices
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS, Group

FOLDER = Path("checkpoints")  # neither DVC nor Git looks into it
MAGIC = b"powtwo checkpoint, sha256 "
State = dict[str, Any]  # tensors, numbers, text, and lists and dicts of them


class Checkpoints:
    """The checkpoint of one run, and none of another's."""

    def __init__(
        self,
        fingerprint: Mapping[str, str],
        folder: Path = FOLDER,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        """Take a name and a digest for all that the bytes of the run depend on."""
        # Plain text: torch.__version__ is a class of its own, which no checkpoint may hold.
        self._fingerprint = {name: str(value) for name, value in fingerprint.items()}
        self._folder, self._group = folder, group
        digest = hashlib.sha256(json.dumps(self._fingerprint, sort_keys=True).encode()).hexdigest()
        self._path = folder / f"train-{digest[:16]}.pt"

    def check_equal(self) -> None:
        """Compare the fingerprints of all processes.

        Raises:
            ValueError: in each of them, where one runs on other code, parameters or data.
        """
        first = self._group.broadcast(self._fingerprint)
        for rank, names in enumerate(self._group.gather(self._differences(first))):
            if names:
                raise ValueError(
                    f"process {rank}: differs from process 0 in {names[0]}; "
                    "give all hosts the same code, parameters, data, PyTorch and kind of processor"
                )

    def read(self) -> State | None:
        """Return where this run stood, if it did; process 0 reads the file for all.

        Raises:
            ValueError: where the file is damaged, or another run's under this one's name.
        """
        content = None
        if self._group.rank == 0:
            self._mention_others()
            content = self._path.read_bytes() if self._path.exists() else None
        content = self._group.broadcast(content)
        if content is None:
            return None
        with strict.refused(self._path, "remove it to train from the beginning"):
            checkpoint = _load(content)
            if names := self._differences(checkpoint["fingerprint"]):
                raise ValueError(f"checkpoint of another run, which differs in {names[0]}")
        state: State = checkpoint["state"]
        self._print(f"goes on after epoch {len(state['history'])}")
        return state

    def write(self, state: State) -> None:
        """Keep where the run stands, in place of what was kept before."""
        if self._group.rank == 0:
            with files.atomic(self._path) as path, path.open("w+b") as file:
                file.write(_seal(hashlib.sha256()))  # until the content has one
                start = file.tell()
                torch.save({"fingerprint": self._fingerprint, "state": state}, file)
                file.seek(start)
                seal = _seal(hashlib.file_digest(file, "sha256"))
                file.seek(0)
                file.write(seal)
                file.flush()
                os.fsync(file.fileno())  # a power failure must not leave half of it

    def remove(self) -> None:
        """Remove the file of this run, which has ended well."""
        if self._group.rank == 0:
            self._path.unlink(missing_ok=True)

    def _mention_others(self) -> None:
        """Print in one line that there is a checkpoint which this run does not resume from."""
        others = sorted(self._folder.glob("train-*.pt"), key=lambda path: path.stat().st_mtime)
        if others and not self._path.exists():
            try:
                names = self._differences(_load(others[-1].read_bytes())["fingerprint"])
            except ValueError as error:
                self._print(f"not used: {error}", others[-1])
                return
            if names:  # or it is a copy of this run's own
                more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
                self._print(f"not used, as it differs in {names[0]}{more}", others[-1])

    def _differences(self, other: Mapping[str, str]) -> list[str]:
        """Name what differs between this run's fingerprint and another."""
        mine = self._fingerprint
        return sorted(
            name for name in mine.keys() | other.keys() if mine.get(name) != other.get(name)
        )

    def _print(self, line: str, path: Path | None = None) -> None:
        if self._group.rank == 0:
            print(f"{path or self._path}: {line}", flush=True)


def depends_on(
    train: Train, dataset: Dataset, stage_depends_on: Mapping[str, str]
) -> dict[str, str]:
    """Name and hash all that the bytes of a run's weights depend on."""
    precision = devices.precision(train.precision, torch.device(train.device))
    return {
        **stage_depends_on,
        "the images": dataset.sha256(),
        "PyTorch": torch.__version__,
        "the processor": devices.describe(train.device),
        # `auto` goes by instructions that the processor's kind does not tell.
        "the precision": precision,
    }


def _load(content: bytes) -> State:
    """Read a checkpoint, as it was written, without running code that it may hold.

    Raises:
        ValueError: where it is none, or a damaged one.
    """
    start = len(_seal(hashlib.sha256()))
    payload = memoryview(content)[start:]
    if content[:start] != _seal(hashlib.sha256(payload)):
        raise ValueError("damaged checkpoint, or of another version")
    try:
        stored: Any = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        if stored.keys() != {"fingerprint", "state"}:
            raise ValueError("other keys")
    except Exception as error:  # what is not of plain values makes the reader fail in any way
        raise ValueError(f"no checkpoint ({type(error).__name__})") from None
    return cast("State", stored)


def _seal(digest: hashlib._Hash) -> bytes:
    """Return the line that stands before the content of this digest."""
    return MAGIC + digest.hexdigest().encode() + b"\n"
