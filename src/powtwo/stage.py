"""What every stage does at its start and its end.

A stage reads its parameters, seeds every generator and notes what code and parameters it runs on.
At its end it looks again: DVC hashes dependencies only after a command has ended
(treeverse/dvc#11058), so an edit made meanwhile would be recorded as if it had been used. Such a
stage fails instead.
"""

from __future__ import annotations

import hashlib
import os
import platform
import random
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from powtwo import files, git, machine, params

PARAMS_FILE = Path("params.yaml")
LOGS = Path("logs")
_EXPECTED = (ValueError, OSError, ArithmeticError)  # said in one line; anything else is a bug


_noted: dict[str, Any] = {}  # by the stage that runs


class StageError(ValueError):
    """The ground moved under a running stage."""


@contextmanager
def stage(name: str, *keys: str, fix_threads: bool = False) -> Iterator[params.Params]:
    """Run the block as the stage `name`, which reads the parameters under `keys`.

    `fix_threads` sets `train.threads` CPU threads, for a stage whose bytes depend on their number.

    Yields:
        The checked parameters, whole.

    Raises:
        SystemExit: with status 1, after one line on stderr, where the block raised an error that a
            user can mend, or code or parameters changed while it ran.
    """
    started, commit = time.time(), git.ask("rev-parse", "HEAD")
    _noted.clear()
    try:
        values = params.load(PARAMS_FILE)
        before = fingerprint(*keys)
        repeatable(values.seed, values.train.threads if fix_threads else None)
        yield values
        _check_unchanged(before, fingerprint(*keys))
    except _EXPECTED as error:
        files.write_text(LOGS / f"{name}.error.txt", traceback.format_exc())
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    files.write_json(LOGS / f"{name}.json", _circumstances(started) | {"commit": commit} | _noted)


def note(**circumstances: Any) -> None:
    """Add to the log of the running stage what it alone knows of its circumstances."""
    _noted.update(circumstances)


def fingerprint(*keys: str) -> dict[str, str]:
    """Hash the project's imported modules and the values of `keys`, each under its name."""
    values = yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8"))
    prints = {f"params.yaml: {key}": repr(params.select(values, key)) for key in keys}
    root = Path(__file__).resolve().parents[2]
    for path in _own_modules():
        name = path.relative_to(root) if path.is_relative_to(root) else path
        prints[str(name)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return prints


def _own_modules() -> list[Path]:
    """List the files under this checkout's `src/` that the process has imported."""
    source = Path(__file__).resolve().parents[1]
    origins = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(origin) for origin in origins if origin}
    # By folder: to follow links is to ask the file system, and torch alone is 2,000 modules.
    folders = {folder: folder.resolve() for folder in {path.parent for path in paths}}
    own = {folders[path.parent] / path.name for path in paths}
    return sorted(path for path in own if path.is_relative_to(source))


def _check_unchanged(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    changed = sorted(key for key, value in before.items() if after.get(key) != value)
    if changed:
        raise StageError(f"{', '.join(changed)} changed while the stage ran; run it again")


def repeatable(seed: int, threads: int | None = None) -> None:
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


def _circumstances(started: float) -> dict[str, Any]:
    """Say what varies from run to run, and so stays out of the metrics."""
    torch = sys.modules.get("torch")
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": time.time() - started,
        "peak_memory_mb": machine.peak_memory_mb(),
        "machine": platform.machine(),
        "processor": machine.processor(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__ if torch else None,
        "threads": torch.get_num_threads() if torch else None,
    }
