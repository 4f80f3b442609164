"""A params.yaml that is none stops stages, tools and tasks in one line that names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clone import PARAMS
from closure import ROOT

BROKEN = {
    "absent": (None, "params.yaml: No such file or directory; correct the path"),
    "a folder": ("folder", "params.yaml: Is a directory; a file must be there"),
    "not UTF-8": (b"# caf\xe9\n", "params.yaml: not UTF-8 at byte 5; save it as UTF-8"),
    "no YAML": (b"a: [1\n", "params.yaml: not YAML: while parsing a flow sequence"),
    "a zero byte": (b"a: \0\n", "params.yaml: not YAML: unacceptable character"),
    "too deep": (b"[" * 100_000, "params.yaml: nested too deeply to be read"),
    "a huge number": (b"a: " + b"9" * 5000, "params.yaml: cannot be read: Exceeds the limit"),
    "empty": (b"", "params.yaml: "),
    "a list": (b"- 1\n", "params.yaml: "),
    "a long name": (b"l" * 300, "params.yaml: schemes."),
}
COMMANDS = {
    "energy-lab": ["src/energy.py", "lab"],
    "evaluate": ["-m", "powtwo.tools.evaluate_network", "--network", "x"],
    "export": ["-m", "powtwo.tools.export_network", "--network", "x"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "name"),
    [*((case, "energy-lab") for case in BROKEN), ("not UTF-8", "evaluate"), ("absent", "export")],
)
def test_a_broken_file_is_said_in_one_line(case: str, name: str, tmp_path: Path) -> None:
    content, line = BROKEN[case]
    path = tmp_path / "params.yaml"
    if content == "folder":
        path.mkdir()
    elif case == "a long name":
        path.write_bytes(PARAMS.read_bytes().replace(b"  lab:", b"  " + b"l" * 300 + b":", 1))
    elif content is not None:
        path.write_bytes(content)
    (tmp_path / "src").symlink_to(ROOT / "src")
    done = subprocess.run(
        [sys.executable, *COMMANDS[name]], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"{name}: {line}")
