"""What a user can mend is said in one line: real faults of the system, and of what is printed."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from closure import ROOT

from powtwo.core import arrays, files, tensors
from powtwo.sidecar.one_line import one_line_errors, say
from powtwo.sidecar.run_log import observed

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
MEMORY = "; lower batch_size, or use a larger machine"


def no_space(path: str | None = None) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", *([path] if path else []))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (no_space("a/b"), "a/b: No space left on device; free some space"),
        (no_space(), "No space left on device; free some space"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"),
         "x: File name too long; choose a shorter name"),
        (RuntimeError("Error while serializing: No space left (os error 28)"),
         "writing failed: Error while serializing: No space left (os error 28); free some space"),
        (RuntimeError("Pytorch: file write failed"),
         "writing failed: Pytorch: file write failed; free some space"),
        (RuntimeError("std::bad_alloc"), f"out of memory (std::bad_alloc){MEMORY}"),
        (RuntimeError("can't start new thread"),
         f"out of memory (can't start new thread){MEMORY}"),
        (ImportError("libx.so: cannot map: Cannot allocate memory"),
         f"out of memory (libx.so: cannot map: Cannot allocate memory){MEMORY}"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"),
         "torch: not installed; activate .venv, or use ./inv"),
        (ValueError(), "ValueError"),
        (ModuleNotFoundError("No module named 'powtwo.x'", name="powtwo.x"), None),
        (KeyError("a bug"), None),
        (RuntimeError("a bug"), None),
    ],
)  # fmt: skip
def test_expected_faults_have_a_line_and_bugs_none(error: Exception, line: str | None) -> None:
    assert say(error) == line


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(2**50), lambda: np.empty(2**50), lambda: bytearray(2**60)]
)
def test_memory_that_no_machine_has_is_said(allocate: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    line = say(caught.value)
    assert line is not None
    assert line.startswith("out of memory (")


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 100 bytes; in the block alone, for pytest may print to a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_arrays(path: Path) -> None:
    with path.open("wb") as file:
        arrays.write(file, {"x": np.zeros(99)})


def write_checkpoint(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"x": torch.zeros(99)}, file)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: files.write_json(path, {"x": "x" * 200}),
        lambda path: tensors.write(path, {"x": np.zeros(99)}, {}),
        write_arrays,
        write_checkpoint,
    ],
)
def test_a_full_disk_is_said_and_leaves_nothing(
    write: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(SystemExit, match="^1$"),
        one_line_errors("stage"),
        full_disk(),
        files.atomic(tmp_path / "a") as path,
    ):
        write(path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith((f"stage: {tmp_path}/", "stage: writing failed: "))
    assert line.endswith(("; allow larger files (ulimit -f)", "; free some space"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_log_that_cannot_be_written_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "tests/data/params.yaml").read_bytes())
    (tmp_path / "logs").write_text("no folder")
    with observed("train"):
        files.write_text("result", "1")
    assert (tmp_path / "result").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train: no log: logs: ")


PRINTS = """
import sys
from powtwo.sidecar.one_line import one_line_errors
with one_line_errors("stage"):
    print("energy, µJ: 1 ± 2 \\u4e2d \\udcff" * COUNT)
    sys.stderr.write("")
    open("done", "w").close()
"""


def script(folder: Path, code: str) -> Path:
    """Write a script that lies beside the library, as those of the stages do."""
    path = folder / "src/script.py"
    path.parent.mkdir(exist_ok=True)
    (path.parent / "powtwo").symlink_to(ROOT / "src/powtwo")
    path.write_text(code, encoding="utf-8")
    return path


def shell(command: str, code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run a shell's command in which $PY is a program of this code."""
    run = f"{sys.executable} {script(folder, code)}"
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=ENVIRONMENT | environment | {"PY": run},
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "printed"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"energy, uJ: 1 +- 2 \\u4e2d \\udcff"),
        ({"PYTHONIOENCODING": "cp950"}, b"energy, uJ: 1 \xa1\xd3 2 \xa4\xa4 \\udcff"),
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
         b"energy, uJ: 1 +- 2 \\u4e2d \\udcff"),
    ],
)  # fmt: skip
def test_any_terminal_shows_what_it_can(
    environment: dict[str, str], printed: bytes, tmp_path: Path
) -> None:
    done = shell("$PY", PRINTS.replace("COUNT", "1"), tmp_path, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed + b"\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize("count", ["1", "100_000"])
@pytest.mark.parametrize("sink", ["| true", ">&-", ">&- 2>&-"])
def test_where_nobody_reads_the_work_goes_on(sink: str, count: str, tmp_path: Path) -> None:
    done = shell(f"$PY {sink}; exit ${{PIPESTATUS[0]}}", PRINTS.replace("COUNT", count), tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").exists()


@pytest.mark.slow
def test_what_cannot_be_printed_on_a_full_disk_is_an_error(tmp_path: Path) -> None:
    done = shell("$PY > /dev/full", PRINTS.replace("COUNT", "1"), tmp_path)
    assert done.stderr == b"stage: No space left on device; free some space\n"
    assert done.returncode == 1


# Before a stage is at work


LOADS = """
import powtwo.sidecar.from_the_start
import time, sys
print("begun", flush=True)
BODY
"""


@pytest.mark.slow
def test_ctrl_c_while_modules_load_is_one_line(tmp_path: Path) -> None:
    waits = script(tmp_path, LOADS.replace("BODY", "time.sleep(60)"))
    with subprocess.Popen(
        [sys.executable, waits], env=ENVIRONMENT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "script: interrupted; run it again\n")


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("import nosuch", "nosuch: not installed; activate .venv, or use ./inv"),
        ("raise MemoryError", "out of memory; use a larger machine"),
        (
            "raise ImportError('x.so: failed to map segment')",
            f"out of memory (x.so: failed to map segment){MEMORY}",
        ),
    ],
)
def test_what_stops_loading_is_one_line_and_a_traceback_on_request(
    body: str, line: str, debug: bool, tmp_path: Path
) -> None:
    option = " --debug" * debug
    done = shell(f"$PY{option}", LOADS.replace("BODY", body), tmp_path)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert said.startswith("Traceback") if debug else said == f"script: {line}\n"


@pytest.mark.slow
@pytest.mark.parametrize("body", ["raise ValueError('a bug')", "raise TypeError", "sys.nosuch"])
def test_a_bug_of_a_module_keeps_its_traceback(body: str, tmp_path: Path) -> None:
    done = shell("$PY", LOADS.replace("BODY", body), tmp_path)
    assert done.stderr.startswith(b"Traceback")


def test_a_path_that_is_not_utf8_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs/a.error.txt"
    with pytest.raises(SystemExit, match="^1$"), one_line_errors("a", log):
        raise ValueError("/tmp/caf\udce9: no such file")
    assert capsys.readouterr().err.count("\n") == 1
    assert "\\udce9" in log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "status"), [("SIG_DFL", 129), ("SIG_IGN", 0)])
def test_a_closed_terminal_ends_it_in_order_unless_nohup(
    before: str, status: int, tmp_path: Path
) -> None:
    code = f"""
import os, signal, tempfile
signal.signal(signal.SIGHUP, signal.{before})
from powtwo.sidecar.one_line import one_line_errors
with one_line_errors("stage"), tempfile.TemporaryDirectory(dir="."):
    os.kill(os.getpid(), signal.SIGHUP)
"""
    done = shell("$PY", code, tmp_path)
    assert done.returncode == status
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


@pytest.mark.parametrize("path", sorted((ROOT / "src").glob("*.py")), ids=lambda path: path.stem)
def test_each_stage_imports_it_first(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if line.startswith(("import ", "from ")))
    assert first == "import powtwo.sidecar.from_the_start  # noqa: F401"


TOOLS = sorted(
    path for path in (ROOT / "src/powtwo/tools").rglob("*.py") if "__main__" in path.read_text()
)


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_each_tool_says_errors_in_one_line(path: Path) -> None:
    assert "with one_line_errors(" in path.read_text(encoding="utf-8")
