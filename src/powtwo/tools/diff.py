"""What differs in parameters and metrics: `python -m powtwo.tools.diff [OLD [NEW]]`.

The tables are those of `dvc params diff` and `dvc metrics diff`, which print nothing where nothing
differs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from powtwo.sidecar.one_line import one_line_errors


def main(revisions: Sequence[str]) -> int:
    """Print both tables, or that there is no difference; return the code of what fails."""
    with one_line_errors("diff"):
        same = True
        for kind in ("params", "metrics"):
            command = [sys.executable, "-m", "dvc", kind, "diff", *revisions]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                return done.returncode
            print(done.stdout, end="", flush=True)
            same &= not done.stdout.strip()
        if same:
            print("no difference in parameters and metrics")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
