"""`dvc.lock` and DVC's own lock, which a kill may leave cut: DVC writes both in place.

Nothing heavy is imported here, for `inv repro` begins with it.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from powtwo.core.scratch import scratch

LOCK = "dvc.lock"
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
KEPT, RUNNING = ".dvc/tmp/dvc.lock.kept", ".dvc/tmp/rwlock"  # of this copy alone


def read(path: Path) -> dict[str, Any]:
    """Return the stages that a `dvc.lock` records.

    Raises:
        ValueError: where it is no lock, such as one that was cut.
        FileNotFoundError: where there is none.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        stages = yaml.load(path.read_bytes(), Loader=loader)["stages"]
        whole = all(map(_is_whole, stages.values()))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, AttributeError, KeyError, ValueError):
        whole = False
    if not whole:
        raise ValueError(
            f"{path.name}: broken, perhaps cut by a kill; run `inv repro`, which restores the last "
            f"whole one, or `git checkout {path.name}`"
        )
    return dict(stages)


def _is_whole(stage: dict[str, Any]) -> bool:
    """Tell whether a stage has its command, and each file its path and md5 to the last digit."""
    entries = [*stage.get("deps", []), *stage.get("outs", [])]
    return bool(stage["cmd"]) and all(
        entry["path"] and _MD5.fullmatch(entry["md5"]) for entry in entries
    )


def mend(root: Path) -> None:
    """Keep a whole `dvc.lock`, bring the kept one back for a broken one, and say so.

    Raises:
        ValueError: where it is broken and none was kept.
    """
    if (running := root / RUNNING).is_file() and not running.stat().st_size:
        running.unlink()
        print(f"{RUNNING}: empty since a kill; removed", file=sys.stderr)
    if not (lock := root / LOCK).is_file():
        return
    try:
        read(lock)
        _copy(lock, root / KEPT)
    except ValueError:
        try:
            read(root / KEPT)
        except (ValueError, OSError):
            raise ValueError(f"{LOCK}: broken; restore it by `git checkout {LOCK}`") from None
        _copy(root / KEPT, lock)
        print(f"{LOCK}: broken since a kill; the one before the last run is back", file=sys.stderr)


def _copy(source: Path, target: Path) -> None:
    with scratch(target.parent) as folder:
        shutil.copyfile(source, folder / target.name)
        (folder / target.name).replace(target)
