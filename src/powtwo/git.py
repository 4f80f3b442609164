"""What Git says of a checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path


def ask(*arguments: str, root: Path | None = None) -> str | None:
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
