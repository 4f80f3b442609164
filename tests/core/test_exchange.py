"""Two folders change places whole, in one step where the system has one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from powtwo.core import exchange as exchanging
from powtwo.core.exchange import exchange


@pytest.fixture(params=["one step", "three steps"])
def in_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchange as this system does, and as one does that has no such step."""
    if request.param == "three steps":
        monkeypatch.setattr(exchanging, "_in_one_step", lambda *_: False)


def pair(root: Path) -> tuple[Path, Path]:
    for name in ("old", "new"):
        (root / name).mkdir(exist_ok=True)
        (root / name / "file").write_text(name)
    return root / "new", root / "old"


def test_folders_change_places(in_steps: None, tmp_path: Path) -> None:  # noqa: ARG001
    new, old = pair(tmp_path)
    exchange(new, old)
    assert (new / "file").read_text() == "old"
    assert (old / "file").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_exchange_that_fails_changes_nothing(in_steps: None, tmp_path: Path) -> None:  # noqa: ARG001
    _, old = pair(tmp_path)
    with pytest.raises(OSError, match="No such file"):
        exchange(tmp_path / "missing", old)
    assert (old / "file").read_text() == "old"


SWAPS = """
import sys
from pathlib import Path
from powtwo.core.exchange import exchange
print("ready", flush=True)
while True:
    exchange(Path("new"), Path("old"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="in one step on Linux")
def test_a_kill_leaves_both_folders(tmp_path: Path) -> None:
    for wait in range(10):
        pair(tmp_path)
        path = os.pathsep.join(sys.path)
        program = subprocess.Popen(
            [sys.executable, "-c", SWAPS],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        time.sleep(wait / 200)
        program.send_signal(signal.SIGKILL)
        program.communicate()
        assert {(tmp_path / name / "file").read_text() for name in ("old", "new")} == {
            "old",
            "new",
        }
