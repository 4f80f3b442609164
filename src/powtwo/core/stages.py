"""What every stage does at its start and its end.

A stage reads its parameters, makes its process repeatable and notes what code and parameters it
runs on. At its end it looks again: DVC hashes dependencies only after a command has ended
(treeverse/dvc#11058), so an edit made meanwhile would be recorded as if it had been used. Such a
stage fails instead. So does one whose code was changed while it was imported, as its time tells.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import powtwo
from powtwo.core.params import StageParams, parse_yaml, select

PARAMS_FILE = Path("params.yaml")
ROOT = Path(__file__).resolve().parents[3]  # the checkout whose code runs
CODE = "src/"  # where the dependencies lie that are code

P = TypeVar("P", bound=StageParams)


class StageError(ValueError):
    """Code or parameters changed while a stage ran."""


@contextmanager
def stage(name: str, reads: type[P], scheme: str = "") -> Iterator[P]:
    """Run the block as a stage of dvc.yaml.

    Args:
        name: of the stage, without its scheme.
        reads: which parameters it reads.
        scheme: that it runs for, where it runs for each.

    Yields:
        The parameters.

    Raises:
        ParamsError: where a parameter is missing or breaks a rule.
        StageError: where code or a parameter that the stage depends on changed while it ran.
    """
    values = read_params()
    params = reads.read(values, scheme)
    before = fingerprint(name, reads, scheme)
    _refuse([path for path in before if _is_newer(ROOT / path)])
    repeatable()
    yield params
    after = fingerprint(name, reads, scheme)
    _refuse([key for key in before.keys() | after.keys() if before.get(key) != after.get(key)])


def _refuse(changed: list[str]) -> None:
    if changed:
        raise StageError(f"{', '.join(sorted(changed))} changed while the stage ran; run it again")


def _is_newer(path: Path) -> bool:
    """Tell whether a file was changed since the first of the project's modules was imported."""
    return path.is_file() and path.stat().st_mtime > powtwo.STARTED


def read_params() -> Any:
    """Return the values of `params.yaml`, parsed once for as long as the file stays the same."""
    return parse_yaml(PARAMS_FILE.read_text(encoding="utf-8"))


def fingerprint(name: str, reads: type[StageParams], scheme: str = "") -> dict[str, str]:
    """Return a digest or a value, by its name, for the code and parameters a stage depends on."""
    values = read_params()
    prints = {f"params.yaml: {key}": repr(select(values, key)) for key in reads.keys(scheme)}
    return prints | code_digests(name)


def code_digests(name: str) -> dict[str, str]:
    """Return the sha256 of each file of code that a stage depends on, by its path.

    The code is what dvc.yaml lists for the stage, which is what DVC will record.
    """
    stages = parse_yaml((ROOT / "dvc.yaml").read_text(encoding="utf-8"), "dvc.yaml")["stages"]
    definition = stages[name].get("do", stages[name])
    code = [ROOT / dep for dep in definition["deps"] if dep.startswith(CODE)]
    files = [file for dep in code for file in ([dep] if dep.is_file() else dep.rglob("*"))]
    known = sorted(file for file in files if file.is_file() and "__pycache__" not in file.parts)
    return {
        file.relative_to(ROOT).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in known
    }


def repeatable(seed: int = 0, threads: int | None = None) -> None:
    """Have a process compute the same bytes each time, on so many CPU threads or as many as it has.

    Seeds Python, numpy and, where it has been imported, torch.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        # What use_deterministic_algorithms sets as well, after it has imported a compiler that no
        # stage uses, for two seconds.
        torch.set_deterministic_debug_mode("error")
        # It would also fill every fresh tensor with NaN, to show reads of what was never written;
        # that costs a training step several percent, and no result depends on it.
        torch.utils.deterministic.fill_uninitialized_memory = False
        if threads is not None:
            torch.set_num_threads(threads)
