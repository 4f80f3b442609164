"""`dvc repro` without DVC's hints, and where the report is: `python -m powtwo.tools.repro`.

DVC ends every run with how to add files to Git, and how to push them, whether or not there is a
remote. The arguments are those of `dvc repro`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.cli import main as dvc
from dvc.ui import ui

from powtwo.sidecar.one_line import one_line_errors

PUSH = "Use `dvc push` to send your updates to remote storage."
REPORT = Path("report/index.html")


def main(arguments: Sequence[str]) -> int:
    """Run DVC, and return its exit code; after a run of the whole pipeline, name the report."""
    with one_line_errors("repro"):
        hide_hints()
        code = int(dvc(["repro", *arguments]))
        whole = all(word.startswith("-") for word in arguments) and "--dry" not in arguments
        if code == 0 and whole and REPORT.is_file():
            print(f"The report: {REPORT.as_posix()}", flush=True)
        return code


def hide_hints() -> None:
    """Have DVC say what it does, and not what one might do next."""
    logging.getLogger("dvc.repo.scm_context").setLevel(logging.WARNING)
    write = ui.write

    def without_hint(*objects: Any, **options: Any) -> None:
        if objects != (PUSH,):
            write(*objects, **options)

    setattr(ui, "write", without_hint)  # noqa: B010  # a method, which types forbid to replace


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
