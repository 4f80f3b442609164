"""Judge the state that is committed: `python -m powtwo.tools.check` prints a line for each fault.

Tests judge code. This judges what was made with it: `dvc.lock` is of this code and these
parameters, `metrics/` and `plots/` are what the lock says, README and docs show what their files
hold, and every published run is whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import dvc_lock, published, status
from powtwo.tools.docs import markdown, pages, screenshot

CACHED = ("data/", "models/", "exports/", "report/")  # in no commit, and absent from a new clone
ERRORS = (ValueError, OSError, LookupError)


def main(root: Path = Path()) -> int:
    """Print what is wrong; return 1 where anything is."""
    with one_line_errors("check"):
        faults = [*lock(root), *passages(root), *pictures(root), *runs(root)]
        print("\n".join(faults) or "dvc.lock, README, docs and results are current")
        return int(bool(faults))


def lock(root: Path) -> Iterator[str]:
    """Yield where code, parameters, metrics and plots are not those of `dvc.lock`."""
    stages: dict[tuple[str, str], str] = {}  # the first to name what changed
    for stage, changes in status.changes(root).items():
        for entry in changes:
            stages |= {key: stages.get(key, stage) for key in status.paths(entry)}
    for (path, change), stage in stages.items():
        if not path.startswith(CACHED):
            yield f"{path}: {change} since dvc.lock was written by {stage}; run `inv repro`"
    defined = status.stages(root)
    for stage in dvc_lock.read(root / dvc_lock.LOCK):
        if stage not in defined:
            yield f"dvc.lock: {stage}: dvc.yaml has no such stage; run `inv prune`"


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
        path, fault = picture.relative_to(root).as_posix(), ""
        try:
            if not picture.is_file() or picture.read_bytes() != draw():
                fault = "is not what its files hold"
        except ERRORS as error:
            fault = _line(error)
        if fault:
            yield f"{path}: {fault}; run `inv docs`"
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


def _line(error: Exception) -> str:
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
