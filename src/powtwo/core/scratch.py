"""Folders in which files are written before they move to their place; leftovers are removed.

Whoever writes in one holds a lock on it. The system takes it away when the process ends, however it
ends: a folder without a lock is what a killed process left.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX = ".writing-"
PLACES = (  # of such folders; `data` may hold a user's images, and is not searched to its depth
    "data", "data/raw", "metrics/**", "plots/**", "models/**", "exports/**", "report/**", "logs",
    "checkpoints/**", "results", "docs", ".dvc/tmp", ".",
)  # fmt: skip
FORMER = "data/raw/tmp????????"  # where earlier versions downloaded to, up to 170 MB
YOUNG = 1  # seconds in which a new folder may not have its lock yet
DAY = 24 * 60 * 60  # seconds; without locks, what is older is a leftover


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, which is made where there is none; remove it afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=PREFIX) as name, _locked(Path(name)):
        yield Path(name)


def leftovers(root: Path = Path()) -> list[Path]:
    """List what killed processes were writing, below `root`."""
    found = {path for place in PLACES for path in root.glob(f"{place}/{PREFIX}*") if path.is_dir()}
    found |= {path for path in root.glob(FORMER) if path.is_file()}
    return sorted(path for path in found if not _is_in_use(path))


def remove(path: Path) -> None:
    """Remove a file, or a folder and all in it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_leftovers(root: Path = Path()) -> None:
    """Remove what killed processes left below `root`, and say so."""
    for path in leftovers(root):
        with suppress(FileNotFoundError):  # another process may have been quicker
            remove(path)
            print(f"removed {path.as_posix()}, which a killed process left", file=sys.stderr)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_in_use(folder: Path) -> bool:
    """Tell whether a process may still write there; where none can tell, it may."""
    try:
        age = time.time() - folder.stat().st_mtime
        if sys.platform == "win32" or age < YOUNG:
            return age < (DAY if sys.platform == "win32" else YOUNG)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
