"""Run one experiment: `python -m powtwo.tools.experiments.one NAME -s key=value …`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.experiments import clone, outcomes, overrides
from powtwo.tools.experiments.worktree import WorkTree, experiments

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_NOT_TRUE = ("Experiment results have been applied", "To promote an experiment", "dvc exp branch")


def main(arguments: list[str], root: Path = Path()) -> None:
    """Run an experiment in a clone, and say how to go on."""
    parser = argparse.ArgumentParser(prog="exp")
    parser.add_argument("name")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="key=value")
    options = parser.parse_args(arguments)
    with one_line_errors("exp"):
        run(root.resolve(), options.name, overrides.read(options.set))


def run(root: Path, name: str, changes: overrides.Overrides) -> None:
    """Run an experiment of this name.

    Raises:
        ValueError: where the name or a value cannot be, or the run fails.
    """
    start = WorkTree.read(root)
    check_name(root, name)
    text, params = overrides.lay(changes, start.params, _source(changes))
    start.identity(params)  # refuses images that are not there
    clone.remove_stale(root)
    with clone.claimed(root, name) as ours:
        if not ours:
            raise ValueError(f"{name}: runs already; wait for it, or choose another name")
        check_name(root, name)  # it may have ended just now
        try:
            own = clone.Experiment(name, changes, text, params)
            seconds = clone.run(start, own, {}, _show)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; log: {clone.LOGS / name}.log") from None
    outcome = outcomes.committed(root, experiments(root)[name])
    best = f"{_best(outcome, changes)}; " if outcome else ""
    print(f"{name}: {best}{seconds:.0f} s. The work tree is as it was: `dvc exp apply {name}` "
          "brings the experiment, `inv leaderboard` compares")  # fmt: skip


def check_name(root: Path, name: str) -> None:
    """Refuse a name that Git or DVC would, and one that is taken.

    Raises:
        ValueError: in one line.
    """
    if not NAME.fullmatch(name) or ".." in name or name.endswith(".lock"):
        raise ValueError(
            f"{name!r}: no name of an experiment; use up to 100 letters, digits and . _ - within"
        )
    if name in experiments(root):
        raise ValueError(
            f"{name}: there is such an experiment; choose another name, or `dvc exp remove {name}`"
        )


def _source(changes: overrides.Overrides) -> str:
    """Say what the parameters are, for errors."""
    words = (f"-s {overrides.said({key: value})}" for key, value in changes.items())
    return "params.yaml with " + " ".join(words) if changes else "params.yaml"


def _best(outcome: outcomes.Outcome, changes: overrides.Overrides) -> str:
    best = outcome.best(changes)
    return (
        f"of the highest validation accuracy: {best.scheme}, {best.validation_accuracy:.2%} "
        f"validation, {best.accuracy:.2%} test"
    )


def _show(line: str) -> None:
    if not any(words in line for words in _NOT_TRUE):
        print(line, end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
