"""Compare experiments: `python -m powtwo.tools.experiments.leaderboard [--csv | --markdown]`.

A row for each experiment, with one of its schemes: of those that it changed, or of all where it
changed more than schemes, the one of the best validation accuracy. Test accuracies choose nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.docs import markdown
from powtwo.tools.experiments import outcomes
from powtwo.tools.experiments.overrides import said_value, short_names
from powtwo.tools.experiments.worktree import experiments

WIDTH = 120  # characters of a line of text
HEAD, WORKSPACE = "HEAD", "workspace"
TITLES = {
    "experiment": "experiment",
    "scheme": "scheme",
    "validation_accuracy": "validation",
    "accuracy": "test",
    "energy_ratio": "energy ratio",
    "size_mb": "size, MB",
}
WORDS = ("experiment", "scheme")
HIGHEST_FIRST = ("validation_accuracy", "accuracy", "energy_ratio")

Row = Mapping[str, Any]  # column → value; None where there is none


def main(arguments: list[str], root: Path = Path()) -> None:
    """Print the leaderboard."""
    parser = argparse.ArgumentParser(prog="leaderboard")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true")
    form.add_argument("--markdown", action="store_true")
    parser.add_argument("--sort", default="validation_accuracy", metavar="COLUMN")
    parser.add_argument("--scheme", default="", help="of this scheme in each experiment")
    options = parser.parse_args(arguments)
    with one_line_errors("leaderboard"):
        board = rows(read(root.resolve()), options.scheme)
        board = ordered(board, options.sort)
        if options.csv:
            write_csv(board)
        else:
            print("\n".join(as_markdown(board) if options.markdown else as_text(board)))


def read(root: Path) -> dict[str, outcomes.Outcome]:
    """Return what HEAD, the work tree where it differs, and each experiment measured.

    Raises:
        ValueError: where nothing has been measured yet.
    """
    found = {HEAD: outcomes.committed(root, HEAD)}
    workspace = outcomes.workspace(root)
    if found[HEAD] is None or (workspace and _differ(workspace, found[HEAD])):
        found[WORKSPACE] = workspace
    found |= {name: outcomes.committed(root, ref) for name, ref in experiments(root).items()}
    measured = {name: outcome for name, outcome in found.items() if outcome}
    if left_out := sorted(found.keys() - measured.keys() - {HEAD, WORKSPACE}):
        print(f"left out, without metrics: {', '.join(left_out)}", file=sys.stderr)
    if not measured:
        raise ValueError("nothing is measured here yet; run `inv repro`, or `inv exp NAME`")
    return measured


def _differ(one: outcomes.Outcome, other: outcomes.Outcome | None) -> bool:
    return other is None or (one.accuracy, one.compare) != (other.accuracy, other.compare)


def rows(measured: Mapping[str, outcomes.Outcome], scheme: str = "") -> list[Row]:
    """Return a row for each experiment, and for the base one for each scheme that has a row.

    Raises:
        ValueError: where no experiment has the scheme that is asked for.
    """
    base = next(iter(measured))
    if scheme:
        shown = [(name, scheme) for name in measured if scheme in measured[name].schemes()]
        if not shown:
            known = sorted({each for outcome in measured.values() for each in outcome.schemes()})
            raise ValueError(f"--scheme {scheme}: no such scheme; use one of {', '.join(known)}")
    else:
        others = [(name, measured[name].best(_changed(measured, name)).scheme)
                  for name in measured if name != base]  # fmt: skip
        schemes = dict.fromkeys(each for _, each in others if each in measured[base].schemes())
        own = schemes or [measured[base].best(()).scheme]
        shown = [*((base, each) for each in own), *others]
    keys = differing([measured[name].flat for name, _ in shown])
    return [_row(name, measured[name], each, keys) for name, each in shown]


def _changed(measured: Mapping[str, outcomes.Outcome], name: str) -> list[str]:
    base, own = next(iter(measured.values())).flat, measured[name].flat
    return [key for key in {**base, **own} if base.get(key, ...) != own.get(key, ...)]


def differing(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values differ, those that all have first; a path is no difference.

    `code` is one of them: which code the stages were.
    """
    keys = dict.fromkeys(key for each in params for key in each if key != "data.path")
    values = {key: [each.get(key, ...) for each in params] for key in keys}
    found = [key for key in keys if any(value != values[key][0] for value in values[key])]
    # First what differs most, which is what was swept.
    distinct = {key: len({str(value) for value in values[key]}) for key in found}
    return sorted(found, key=lambda key: (values[key].count(...) > 0, -distinct[key]))


def _row(name: str, outcome: outcomes.Outcome, scheme: str, keys: Sequence[str]) -> Row:
    return {
        "experiment": name,
        **vars(outcome.result(scheme)),
        **{key: outcome.flat.get(key) for key in keys},
    }


def ordered(board: list[Row], key: str) -> list[Row]:
    """Sort by a column: accuracies and ratios from the highest, all else from the lowest.

    Raises:
        ValueError: where there is no such column.
    """
    columns = list(board[0])
    names = short_names(columns[len(TITLES) :])
    titles = names | TITLES
    key = next((long for long, short in titles.items() if key in {long, short}), key)
    if key not in columns:
        raise ValueError(f"--sort {key}: no such column; use one of {', '.join(columns)}")
    sign = -1 if key in HIGHEST_FIRST else 1
    order = sorted(board, key=lambda row: sign * row[key] if _is_number(row[key]) else 0)
    if not all(_is_number(row[key]) or row[key] is None for row in board):
        order = sorted(board, key=lambda row: said_value(row[key]))
    return sorted(order, key=lambda row: row[key] is None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def write_csv(board: Sequence[Row]) -> None:
    """Print the rows as CSV, with full keys and digits."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(board[0])
    for row in board:
        writer.writerow(["" if value is None else said_value(value) for value in row.values()])


def as_markdown(board: Sequence[Row]) -> list[str]:
    """Return the lines of a Markdown table."""
    titles = _titles(board)
    words = [index for index, key in enumerate(titles) if key in WORDS]
    cells = [[_cell(key, row[key]).replace("|", "\\|") for key in titles] for row in board]
    return markdown.table(list(titles.values()), cells, words)


def as_text(board: Sequence[Row]) -> list[str]:
    """Return the lines of a table of at most WIDTH characters; what finds no room is named."""
    titles = _titles(board)
    columns = {
        key: [title, *(_cell(key, row[key]) for row in board)] for key, title in titles.items()
    }
    widths = {key: max(map(len, cells)) for key, cells in columns.items()}
    fit, used = [], 0
    for key, width in widths.items():
        if used + width <= WIDTH or key in TITLES:
            fit.append(key)
            used += width + 2
    lines = [
        "  ".join(
            columns[key][index].ljust(widths[key])
            if key in WORDS
            else columns[key][index].rjust(widths[key])
            for key in fit
        ).rstrip()
        for index in range(len(board) + 1)
    ]
    if left := [key for key in columns if key not in fit]:
        lines += ["", f"More columns with --csv or --markdown: {len(left)} keys that differ"]
    return lines


def _titles(board: Sequence[Row]) -> dict[str, str]:
    return TITLES | short_names([key for key in board[0] if key not in TITLES])


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–" if key in TITLES else ""
    if key in {"validation_accuracy", "accuracy"}:
        return f"{value:.2%}"
    if key in {"energy_ratio", "size_mb"}:
        return f"{value:.2f}"
    return said_value(value)


if __name__ == "__main__":
    main(sys.argv[1:])
