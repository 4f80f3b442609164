"""What every stage does at its start and its end.

A stage reads its parameters, makes its process repeatable and notes what code and parameters it
runs on. At its end it looks again: DVC hashes dependencies only after a command has ended
(treeverse/dvc#11058), so an edit made meanwhile would be recorded as if it had been used. Such a
stage fails instead. So does one whose code was changed since its process started, as times tell.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import powtwo
from powtwo.core import files, scratch
from powtwo.core.machine import process_started
from powtwo.core.params import StageParams, parse_yaml, select

PARAMS_FILE = Path("params.yaml")
ROOT = Path(__file__).resolve().parents[3]  # the checkout whose code runs
CODE = "src/"  # where the dependencies lie that are code
STARTED = process_started() or powtwo.STARTED  # seconds; code changed later may not be what runs

_at_start: dict[str, str] = {}  # of the stage that runs

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
    values = read_params()  # once: an edit between two readings would pass unseen
    params = reads.read(values, scheme)
    before = fingerprint(name, reads, values, scheme)
    _refuse([path for path in before if _is_newer(ROOT / path)])
    repeatable()
    scratch.remove_leftovers()
    _at_start.clear()
    _at_start.update(before)
    yield params
    after = fingerprint(name, reads, read_params(), scheme)
    _refuse([key for key in before.keys() | after.keys() if before.get(key) != after.get(key)])


def at_start() -> dict[str, str]:
    """Return the fingerprint of the stage that runs, as it was at its start."""
    return dict(_at_start)


def _refuse(changed: list[str]) -> None:
    if changed:
        raise StageError(f"{', '.join(sorted(changed))} changed while the stage ran; run it again")


def _is_newer(path: Path) -> bool:
    """Tell whether a file was changed, or moved here, since this process started."""
    if not path.is_file():
        return False
    about = path.stat()
    return max(about.st_mtime, about.st_ctime) > STARTED


def read_params() -> Any:
    """Return the values of `params.yaml`, parsed once for as long as the file stays the same."""
    return parse_yaml(files.read_text(PARAMS_FILE))


def fingerprint(
    name: str, reads: type[StageParams], values: Any, scheme: str = ""
) -> dict[str, str]:
    """Return a digest or a value, by its name, for the code and parameters a stage depends on.

    `values` are those of the whole of params.yaml.
    """
    prints = {f"params.yaml: {key}": repr(select(values, key)) for key in reads.keys(scheme)}
    return prints | code_digests(name)


def code_digests(name: str) -> dict[str, str]:
    """Return the sha256 of each file of code that a stage depends on, by its path.

    The code is what dvc.yaml lists for the stage, without what .dvcignore names: so does DVC.
    """
    stages = parse_yaml((ROOT / "dvc.yaml").read_text(encoding="utf-8"), "dvc.yaml")["stages"]
    definition = stages[name].get("do", stages[name])
    code = [ROOT / dep for dep in definition["deps"] if dep.startswith(CODE)]
    files = [file for dep in code for file in ([dep] if dep.is_file() else dep.rglob("*"))]
    ignored = _dvcignore()
    known = [(file.relative_to(ROOT), file) for file in sorted(files) if file.is_file()]
    return {
        name.as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in known
        if not any(fnmatchcase(part, pattern) for part in name.parts for pattern in ignored)
    }


def _dvcignore() -> list[str]:
    """List the patterns of .dvcignore, which are of names alone."""
    path = ROOT / ".dvcignore"
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    return [line.rstrip("/") for line in lines if line and not line.startswith("#")]


def repeatable(seed: int = 0, threads: int | None = None) -> None:
    """Have a process compute the same bytes each time, on so many CPU threads or as many as it has.

    Seeds Python and, where they have been imported, numpy and torch.
    """
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
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
