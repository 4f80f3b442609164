"""What tasks.py is written with."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from invoke.context import Context

from powtwo.tools import commands

if sys.platform == "win32":
    pytest.skip("signals of Unix", allow_module_level=True)

PATIENT = """
import signal, sys, time
signal.signal(int(sys.argv[1]), lambda *_: sys.exit(5))
print("begun", flush=True)
while True:  # what comes just before a pause would not end it
    time.sleep(0.05)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_as_a_command_starts_reaches_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def late(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:  # begins, then is told of
        child = start(*arguments, stdout=subprocess.PIPE, **options)
        assert child.stdout
        with child.stdout as told:
            assert told.readline() == b"begun\n"
        signal.raise_signal(number)  # os.kill's may come later, where other threads run
        return child

    monkeypatch.setattr(subprocess, "Popen", late)
    before = signal.signal(number, signal.SIG_DFL)  # not ignored, as nohup has it
    try:
        assert commands.call(Context(), sys.executable, "-c", PATIENT, str(int(number))) == 5
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
