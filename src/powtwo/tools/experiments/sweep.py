"""Run the points of a sweep: `python -m powtwo.tools.experiments.sweep FILE [--part K/N]`.

Each point is an experiment named after the file and a digest of all that its results depend on:
code, parameters, images. One that Git knows is not run again; one that another process runs now is
left to it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from powtwo.core import files
from powtwo.core.params import Section, validate
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.experiments import clone, outcomes, overrides
from powtwo.tools.experiments.worktree import WorkTree, experiments

# A stage that uses one core leaves the others to other workers; training sets its own threads, and
# no result after it depends on how many there are.
ONE_CORE = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
DONE, FAILED, RUNNING, WAITING = "done", "failed", "running", "waiting"
_DIGITS = 8  # of a point's digest in its name

Values = Annotated[list[Any], Field(min_length=1)]


class Points(Section):
    """The file of a sweep: a grid, or a list of points."""

    grid: Annotated[dict[str, Values], Field(min_length=1)] | None = None
    points: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.grid is None) == (self.points is None):
            raise ValueError("must have either grid or points")
        return self

    def overrides(self) -> list[dict[str, Any]]:
        """Return the points in their order; of a grid, the last key changes fastest."""
        if self.grid is None:
            return self.points or []
        products = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, values, strict=True)) for values in products]


@dataclass(frozen=True)
class Point(clone.Experiment):
    """One experiment of a sweep."""

    number: int  # from 1


def main(arguments: list[str], root: Path = Path()) -> int:
    """Run a sweep, a line for each point; return 1 where a point failed."""
    parser = argparse.ArgumentParser(prog="sweep")
    parser.add_argument("file", type=Path)
    parser.add_argument("--part", default="1/1", metavar="K/N")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(arguments)
    with one_line_errors("sweep"):
        start = WorkTree.read(root.resolve())
        first, step = part(options.part)
        points = read(options.file, start)[first - 1 :: step]
        return sweep(start, points, dry_run=options.dry_run)


def part(text: str) -> tuple[int, int]:
    """Return K and N of `K/N`: every N-th point, from point K on.

    Raises:
        ValueError: where it says no part.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    k, n = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= k <= n:
        raise ValueError(f"--part {text}: must be K/N with K from 1 to N, such as 2/8")
    return k, n


def read(path: Path, start: WorkTree) -> list[Point]:
    """Read a sweep's file and check every point.

    Raises:
        ValueError: where the file or a point cannot be, or two points are the same.
    """
    values = overrides.parse(files.read_text(path), str(path))
    if values is None:
        raise ValueError(f"{path}: is empty; must have grid or points, see docs/experiments.md")
    listed = validate(Points, values, str(path)).overrides()
    points: dict[str, Point] = {}
    for number, changes in enumerate(listed, 1):
        source = f"{path}: point {number} ({overrides.said(changes)})"
        text, params = overrides.lay(changes, start.params, source)
        name = f"{_stem(path)}-{start.identity(params)[:_DIGITS]}"
        if name in points:
            raise ValueError(f"{source}: is the same as point {points[name].number}; leave one")
        points[name] = Point(name, changes, text, params, number)
    return list(points.values())


def _stem(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:40] or "sweep"


def sweep(start: WorkTree, points: Sequence[Point], *, dry_run: bool) -> int:
    """Run the points that are not done, and return 1 where one failed."""
    began = time.time()
    if not points:
        print("no point in this part")
        return 0
    table = Table(start.root, points)
    print(table.head, flush=True)
    if not dry_run:
        clone.remove_stale(start.root)
    states: dict[str, str] = {}
    for point in points:
        table.show_running(point, dry_run=dry_run)
        state, error = (state_of(start.root, point), "") if dry_run else run(start, point, began)
        print(table.line(point, state, error), flush=True)
        states[point.name] = state
    for point in points:  # what another worker ran may have ended since
        if states[point.name] == RUNNING:
            states[point.name] = state_of(start.root, point)
    counts = Counter(states.values())
    if len(points) != counts[DONE]:
        listed = (DONE, FAILED, RUNNING, WAITING)
        print("; ".join(f"{counts[state]} {state}" for state in listed if counts[state]))
    return int(counts[FAILED] > 0 and not dry_run)


def run(start: WorkTree, point: Point, began: float) -> tuple[str, str]:
    """Run a point unless it is done, runs elsewhere, or has failed since `began`.

    Returns:
        Its state, and why it failed, if it did.
    """
    with clone.claimed(start.root, point.name) as ours:
        if not ours:
            return RUNNING, ""
        if point.name in experiments(start.root):
            return DONE, ""
        failure = clone.failure(start.root, point.name)
        if failure and failure.ended >= began:  # in another process
            return FAILED, failure.error
        try:
            clone.run(start, point, ONE_CORE, lambda _: None)
        except ValueError as error:
            return FAILED, str(error)
        return DONE, ""


def state_of(root: Path, point: Point) -> str:
    """Say whether a point is done, runs, has failed, or is still to run."""
    if point.name in experiments(root):
        return DONE
    if clone.is_running(root, point.name):
        return RUNNING
    return FAILED if clone.failure(root, point.name) else WAITING


class Table:
    """A line for each point, in columns as wide as what will stand in them."""

    def __init__(self, root: Path, points: Sequence[Point]) -> None:
        self._root = root
        keys = list(dict.fromkeys(key for point in points for key in point.changes))
        short = overrides.short_names(keys)
        self._said = {point.name: overrides.said(point.changes, short) for point in points}
        numbers = max([len(str(point.number)) for point in points], default=1)
        names = max(map(len, self._said), default=4)
        changes = max([7, *map(len, self._said.values())])
        self._form = f"{{:>{numbers}}}  {{:{names}}}  {{:{changes}}}  {{:7}}  {{:>7}}  {{}}"
        self.head = self._form.format(
            "#", "experiment", "changes", "state", "seconds", "scheme, validation, test"
        )

    def line(self, point: Point, state: str, error: str = "") -> str:
        """Return a point's line; the error of a failure comes from its note where none is given."""
        seconds = clone.seconds(self._root, point.name) if state in {DONE, FAILED} else None
        shown = "" if seconds is None else f"{seconds:.0f}"
        said = self._said[point.name]
        return self._form.format(
            point.number, point.name, said, state, shown, self._result(point, state, error)
        ).rstrip()

    def show_running(self, point: Point, *, dry_run: bool) -> None:
        """Say on a terminal which point is about to run; its line takes the place."""
        if sys.stdout.isatty() and not dry_run:
            said = self._said[point.name]
            text = self._form.format(point.number, point.name, said, "…", "", "")
            print(text.rstrip(), end="\r", flush=True)

    def _result(self, point: Point, state: str, error: str) -> str:
        if state == FAILED:
            noted = None if error else clone.failure(self._root, point.name)
            error = noted.error if noted else error
            return f"{error or 'unknown'}; log: {clone.LOGS / point.name}.log"
        if state != DONE:
            return ""
        outcome = outcomes.committed(self._root, experiments(self._root)[point.name])
        if outcome is None:
            return "no metrics"
        best = outcome.best(point.changes)
        return f"{best.scheme} {best.validation_accuracy:.2%} {best.accuracy:.2%}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
