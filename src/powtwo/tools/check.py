"""Judge the state that is committed: `python -m powtwo.tools.check` prints a line for each fault.

Tests judge code. This judges what was made with it: `dvc.lock` is of this code and these
parameters, `metrics/` and `plots/` are what the lock says, README and docs show what their files
hold, and every published run is whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from powtwo.integer.network import IntegerNetwork
from powtwo.tools import published
from powtwo.tools.docs import markdown, pages, screenshot

CACHED = ("data/", "models/", "exports/", "report/")  # in no commit, and absent from a new clone
ERRORS = (ValueError, OSError, LookupError, SafetensorError)


def main(root: Path = Path()) -> int:
    """Print what is wrong; return 1 where anything is."""
    try:
        faults = [*lock(root), *passages(root), *pictures(root), *runs(root)]
    except ERRORS as error:
        faults = [_line(error)]
    print("\n".join(faults) or "dvc.lock, README, docs and results are current")
    return int(bool(faults))


def status(root: Path) -> dict[str, list[Any]]:
    """Return what `dvc status` says of each stage that is not as `dvc.lock` has it.

    Raises:
        ValueError: where DVC cannot say, in one line.
    """
    changes: dict[str, list[Any]] = json.loads(_dvc(root, "status", "--json"))
    return changes


def lock(root: Path) -> Iterator[str]:
    """Yield where code, parameters, metrics and plots are not those of `dvc.lock`."""
    stages: dict[tuple[str, str], str] = {}  # the first to name what changed
    for stage, changes in status(root).items():
        for entry in changes:
            stages |= {key: stages.get(key, stage) for key in _paths(entry)}
    for (path, change), stage in stages.items():
        if not path.startswith(CACHED):
            yield f"{path}: {change} since dvc.lock was written by {stage}; run `inv repro`"
    defined = _dvc(root, "stage", "list", "--name-only").split()
    locked = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    for stage in locked:
        if stage not in defined:
            yield f"dvc.lock: {stage}: dvc.yaml has no such stage; delete its entry"


def _paths(entry: Any) -> Iterator[tuple[str, str]]:
    """Yield what changed and how; of params.yaml each key."""
    if isinstance(entry, str):  # such as "changed command"
        yield "dvc.yaml", entry
        return
    for changes in entry.values():
        for path, change in changes.items():
            keys = change if isinstance(change, dict) else {"": change}
            yield from ((f"{path} {key}".rstrip(), how) for key, how in keys.items())


def passages(root: Path) -> Iterator[str]:
    """Yield the generated passages of README and docs that are not what `inv docs` writes."""
    for page, name, make in pages.passages(root):
        path, fault = page.relative_to(root).as_posix(), ""
        try:
            text = page.read_text(encoding="utf-8")
            if markdown.insert(text, name, make()) != text:
                fault = "is not what its files hold"
        except ERRORS as error:
            fault = _line(error)
        if fault:
            yield f"{path}: passage {name}: {fault}; run `inv docs`"


def pictures(root: Path) -> Iterator[str]:
    """Yield the generated pictures of docs that are not what `inv docs` draws."""
    for picture, draw in pages.pictures(root):
        if not picture.is_file() or picture.read_bytes() != draw():
            path = picture.relative_to(root).as_posix()
            yield f"{path}: is not what its files hold; run `inv docs`"
    if fault := screenshot.fault(root):
        yield fault


def runs(root: Path) -> Iterator[str]:
    """Yield the published runs that are not whole, or not of the recipe that they are named for."""
    for folder in published.folders(root):
        try:
            if network := published.load(folder).info["network"]:
                IntegerNetwork.load(folder / network)
            published.check_recipe(folder, published.other_seeds(root, folder.name))
            seeds = folder / published.SEEDS
            if seeds.is_file() and not published.is_of_run(seeds, folder):
                raise ValueError(f"{seeds.name}: has other figures than the run")
        except ERRORS as error:
            name = folder.relative_to(root).as_posix()
            yield f"{name}: {_line(error)}; restore it from Git, or publish it again"


def _dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ValueError(f"dvc {arguments[0]}: {reason}; mend it, and try again")
    return done.stdout


def _line(error: Exception) -> str:
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
