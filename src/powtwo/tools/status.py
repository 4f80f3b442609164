"""Say which stages are not up to date: `python -m powtwo.tools.status`, a line for each reason.

As `dvc status` does. Of the stage `source`, which always runs, it looks at the images instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sources import digest, last_run, place
from powtwo.tools import dvc_lock

ALWAYS = "always changed"  # what DVC says of the stage `source`


def main() -> None:
    """Print what a run would have to do, and why."""
    with one_line_errors("status"):
        lines = [
            f"{stage}: {path}: {how}"
            for stage, entries in changes(Path()).items()
            for entry in entries
            for path, how in paths(entry)
        ]
        lines += other_images()
        print("\n".join(lines) or "every stage is up to date")


def other_images() -> Iterator[str]:
    """Yield a line where the images are no longer those that the stage `source` saw."""
    source, last = schema.load().data, last_run.read()
    now = last_run.current(source, place.location(source), last)
    if digest.SOURCE.is_file() and (before := digest.recorded()) != now:
        yield f"download: other images: {now}, and {digest.SOURCE.as_posix()} has {before}"


def changes(root: Path) -> dict[str, list[Any]]:
    """Return what `dvc status` says of each stage that is not as `dvc.lock` has it.

    That a stage always runs is left out, for it says of no file that it is another.

    Raises:
        ValueError: where DVC cannot say, in one line.
    """
    if (root / dvc_lock.LOCK).is_file():
        dvc_lock.read(root / dvc_lock.LOCK)  # whose faults DVC does not name
    changed: dict[str, list[Any]] = json.loads(dvc(root, "status", "--json"))
    told = {
        stage: [change for change in entry if change != ALWAYS] for stage, entry in changed.items()
    }
    return {stage: entry for stage, entry in told.items() if entry}


def paths(entry: Any) -> Iterator[tuple[str, str]]:
    """Yield what changed and how, of an entry of `changes`; of params.yaml each key."""
    if isinstance(entry, str):  # such as "changed command"
        yield "dvc.yaml", entry
        return
    for changes in entry.values():
        for path, change in changes.items():
            keys = change if isinstance(change, dict) else {"": change}
            yield from ((f"{path} {key}".rstrip(), how) for key, how in keys.items())


def stages(root: Path) -> list[str]:
    """Return the names of dvc.yaml's stages, those of each scheme."""
    return dvc(root, "stage", "list", "--name-only").split()


def dvc(root: Path, *arguments: str) -> str:
    """Return what a command of DVC prints.

    Raises:
        ValueError: where it fails, with its last line.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ValueError(f"dvc {arguments[0]}: {reason}; mend it, and try again")
    return done.stdout


if __name__ == "__main__":
    main()
