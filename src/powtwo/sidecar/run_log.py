"""What stands around a stage: the check of the whole `params.yaml`, its errors, its log.

It can refuse and take notes, and no byte of an output depends on it: no stage depends on it.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from powtwo.core import files
from powtwo.core.machine import processor
from powtwo.core.stages import read_params
from powtwo.sidecar.one_line import one_line_errors, say

if TYPE_CHECKING:
    from powtwo.sidecar.schema import Params

LOGS = Path("logs")
FIRST = "download"  # the stage that reads images, which may take minutes

_noted: dict[str, Any] = {}  # by the stage that runs


@contextmanager
def observed(name: str) -> Iterator[None]:
    """Check all parameters, run the block, and log what it ran on as `logs/NAME.json`.

    Raises:
        SystemExit: with status 1, after one line on stderr, where the block raised an error that a
            user can mend; 130 or 143 where it was stopped by Ctrl-C or SIGTERM.
    """
    with one_line_errors(name, LOGS / f"{name}.error.txt"):
        started, commit = time.time(), ask_git("rev-parse", "HEAD")
        _noted.clear()
        from powtwo.sidecar import schema  # noqa: PLC0415  # errors of its own are said as well

        params = schema.check(read_params())
        if name == FIRST:
            _refuse_network(params)
        yield
        log, values = LOGS / f"{name}.json", _circumstances(started) | {"commit": commit} | _noted
        try:
            files.write_json(log, values)
        except OSError as error:  # all that is lost are notes
            print(f"{name}: no log: {say(error)}", file=sys.stderr)


def _refuse_network(params: Params) -> None:
    """Refuse a network of the user's that cannot be read, before images are.

    Raises:
        ValueError: naming its file, the layer, the operator, the rule and the remedy.
    """
    if params.model.files:
        from powtwo.network.reading.operations import ClassesError  # noqa: PLC0415  # takes seconds
        from powtwo.network.reading.read import read  # noqa: PLC0415

        try:
            network = read(params.model, params.data.shape, None)
        except ClassesError:  # the stage train knows how many there are
            return
        if params.train.epochs and not network.trains:
            raise ValueError(
                f"train.epochs = {params.train.epochs}: {params.model.files[0]} has no parameter "
                "that requires a gradient; set it to 0, or let some"
            )


def note(**circumstances: Any) -> None:
    """Add to the log of the running stage what it alone knows of its circumstances."""
    _noted.update(circumstances)


def ask_git(*arguments: str, root: Path | None = None) -> str | None:
    """Return what `git` prints in `root`, by default the current folder.

    None where it prints nothing or fails: there may be no Git, no checkout or no commit.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _circumstances(started: float) -> dict[str, Any]:
    """Say what varies from run to run, and so stays out of the metrics."""
    torch = sys.modules.get("torch")
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": time.time() - started,
        "peak_memory_mb": _peak_memory_mb(),
        "machine": platform.machine(),
        "processor": processor(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": torch.__version__ if torch else None,
        "threads": torch.get_num_threads() if torch else None,
    }


def _peak_memory_mb() -> float | None:
    """Return the most memory that this process has held; Windows does not tell."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
