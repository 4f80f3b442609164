"""A copy of the repository without Git, such as its ZIP: how DVC runs there, what is missing.

Nothing heavy is imported here, for every task asks.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from powtwo.core import scratch

LOCAL = ".dvc/config.local"  # DVC's settings of this copy alone; Git ignores the file
_NO_SCM = re.compile(r"^\s*no_scm\s*=\s*true\s*$", re.MULTILINE | re.IGNORECASE)
MISSING = (
    f"no Git here: {LOCAL} now has DVC run without it. `inv diff`, `inv publish`, `dvc exp` and "
    "hooks need it, and logs name no commit; clone the repository to have them"
)


def has_git(root: Path) -> bool:
    """Tell whether `root` lies in a checkout, as DVC looks for one."""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def tell_dvc(root: Path) -> None:
    """Have DVC run without Git where there is none, and with it again once there is."""
    path = root / LOCAL
    told = path.is_file() and bool(_NO_SCM.search(path.read_text(encoding="utf-8")))
    if told != has_git(root) or not path.parent.is_dir():
        return
    setting = ["--unset", "core.no_scm"] if told else ["core.no_scm", "true"]
    command = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", *setting]
    if subprocess.call(command, cwd=root) == 0:
        print(f"{LOCAL}: DVC uses Git again" if told else MISSING, file=sys.stderr, flush=True)


def remove(root: Path, names: Iterable[str]) -> None:
    """Remove files and folders of these names, and say so, as `git clean` does."""
    for path in (root / name for name in names if (root / name).exists()):
        print(f"Removing {path.relative_to(root).as_posix()}")
        scratch.remove(path)
