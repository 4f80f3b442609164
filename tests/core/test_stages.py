"""What stands around every stage: seeds, edits in between, one-line errors, logs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clone import PARAMS
from closure import ROOT

from powtwo.core import scratch
from powtwo.core import stages as guard
from powtwo.core.params import Seed, StageParams
from powtwo.core.stages import repeatable, stage
from powtwo.sidecar.run_log import note, observed
from powtwo.training.params import Train


class Reads(StageParams):
    """What a stage might read."""

    seed: Seed
    train: Train


class SeedAlone(StageParams):
    """What another might."""

    seed: Seed


@contextmanager
def running(name: str = "train", reads: type[StageParams] = SeedAlone) -> Iterator[StageParams]:
    """Run a block as every stage's script does."""
    with observed(name), stage(name, reads) as params:
        yield params


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    shutil.copy(PARAMS, tmp_path)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def edit(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new, 1))


def test_a_stage_seeds_every_generator_without_asking() -> None:
    def draw() -> tuple[float, ...]:
        return torch.rand(1).item(), np.random.rand(), random.random()

    with running():
        draws = draw()
    for seed in (0, 1):
        repeatable(seed)
        assert [a == b for a, b in zip(draws, draw(), strict=True)] == [seed == 0] * 3


def test_it_is_deterministic_without_a_compiler() -> None:
    """PyTorch's own switch imports a compiler first, which takes two seconds."""
    code = """
import sys, torch
from powtwo.core.stages import repeatable
repeatable()
assert torch.are_deterministic_algorithms_enabled()
assert not torch.is_deterministic_algorithms_warn_only_enabled()
assert not torch.utils.deterministic.fill_uninitialized_memory
print(any(name.startswith("torch._inductor") for name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


def test_it_fixes_the_threads_where_asked() -> None:
    torch.set_num_threads(1)
    repeatable()
    assert torch.get_num_threads() == 1
    repeatable(threads=2)
    assert torch.get_num_threads() == 2


def test_a_parameter_edited_meanwhile_fails_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, running(reads=Reads):
        edit("epochs: ", "epochs: 1")
    assert caught.value.code == 1
    expected = "train: params.yaml: train changed while the stage ran; run it again\n"
    assert capsys.readouterr().err == expected
    assert not Path("logs/train.json").exists()


def test_parameters_are_read_once_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit right after is no part of the fingerprint, which names what the stage runs on."""
    read, texts = guard.parse_yaml, []

    def read_and_edit(text: str, source: str = "params.yaml") -> Any:
        if source == "params.yaml" and not texts:
            edit("epochs: ", "epochs: 1")
        texts.append(text)
        return read(text, source)

    monkeypatch.setattr(guard, "parse_yaml", read_and_edit)
    running = stage("train", Reads)
    params, train = running.__enter__(), read(texts[0])["train"]
    assert params.train.epochs == train["epochs"]
    assert guard.at_start()["params.yaml: train"] == repr(train)
    with pytest.raises(guard.StageError, match="train changed"):
        running.__exit__(None, None, None)


def test_a_process_knows_when_it_started() -> None:
    code = """
import time
first_line = time.time()
time.sleep(0.5)  # as long as a script's first imports may take
from powtwo.core import stages
print(stages.STARTED - first_line)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # The system counts in ticks of 10 ms; half a second would be far off.
    assert sys.platform != "linux" or -60 < float(done.stdout) < 0.02


def test_a_parameter_that_the_stage_does_not_read_may_change() -> None:
    with running():
        edit("epochs: ", "epochs: 1")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that the stage depends on, older than this process."""
    monkeypatch.setattr(guard, "ROOT", tmp_path)
    monkeypatch.setattr(guard, "STARTED", time.time() + 60)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    Path("dvc.yaml").write_text("stages: {train: {deps: [src/package, data/x.npz]}}")
    module = tmp_path / "src/package/module.py"
    (module.parent / "__pycache__").mkdir(parents=True)
    module.write_text("before")
    return module


@pytest.mark.parametrize("happens", ["edited", "added", "removed"])
def test_code_changed_meanwhile_fails_the_stage(
    happens: str, module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = module.with_name("other.py")
    with pytest.raises(SystemExit), running():
        {"edited": lambda: module.write_text("after"), "added": other.touch,
         "removed": module.unlink}[happens]()  # fmt: skip
    name = "other" if happens == "added" else "module"
    expected = f"train: src/package/{name}.py changed while the stage ran; run it again\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "name", ["__pycache__/module.pyc", ".DS_Store", "._module.py", "Thumbs.db", "desktop.ini",
             "Icon\r", "__MACOSX/module.py", ".ipynb_checkpoints/module.py"],
)  # fmt: skip
def test_what_is_no_code_may_change_meanwhile(module: Path, name: str) -> None:
    with running():
        (module.parent / name).parent.mkdir(exist_ok=True)
        (module.parent / name).touch()


@pytest.mark.parametrize("how", ["edited", "moved here"])
def test_code_changed_since_the_process_started_fails_the_stage(
    how: str, module: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have been read before or after: what runs is not known."""
    monkeypatch.setattr(guard, "STARTED", module.stat().st_mtime - 60)
    if how == "moved here":
        os.utime(module, (0, 0))  # as `mv` leaves it
    with pytest.raises(SystemExit), running():
        pytest.fail("the block must not run")
    expected = "train: src/package/module.py changed while the stage ran; run it again\n"
    assert capsys.readouterr().err == expected


class SafetensorError(Exception):
    """As the package has it: neither a ValueError nor an OSError."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("data.path = None: give one"), "data.path = None: give one"),
        (SafetensorError("header too small"), "header too small"),
        (MemoryError(), "out of memory (MemoryError); lower batch_size, or use a larger machine"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough"), "out of memory ("),
        (OSError(28, "No space left on device"), "No space left on device; free some space"),
        (ZeroDivisionError("division\nby zero"), "division by zero"),
    ],
)
def test_expected_faults_are_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="^1$"), running():
        raise error
    assert "Traceback" in Path("logs/train.error.txt").read_text()
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"train: {line}")
    monkeypatch.setenv("POWTWO_DEBUG", "1")
    with pytest.raises(type(error)), running():
        raise error


def test_a_disk_too_full_for_the_traceback_hides_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("logs").write_text("a file where a folder should be")
    with pytest.raises(SystemExit), running():
        raise ValueError("the error itself")
    assert capsys.readouterr().err == "train: the error itself\n"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_stage_leaves_nothing_half_written(number: int, status: int) -> None:
    code = """
import time
from powtwo.core import files
from powtwo.sidecar.run_log import observed
with observed("train"), files.atomic("plots/a.csv"):
    print("begun", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status
    assert "Traceback" not in said
    assert list(Path("plots").iterdir()) == []


def test_a_terminal_of_ascii_shows_what_is_like_it() -> None:
    code = """
from powtwo.sidecar.run_log import observed
with observed("train"):
    print("energy, µJ: 1 × 2 − 3 é")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.stdout == "energy, uJ: 1 x 2 - 3 \\xe9\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(TypeError), running():
        raise TypeError("a bug")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: ", "epochs: -1  # ", "train.epochs = -1: Input should be greater than or equal"),
        ("table: lab", "table: Lab", "energy.table = 'Lab': String should match pattern"),
    ],
)
def test_any_wrong_parameter_stops_every_stage_before_any_work(
    old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(old, new)
    with pytest.raises(SystemExit), running():
        pytest.fail("the block must not run")
    assert message in capsys.readouterr().err


def test_the_log_has_what_varies_the_commit_and_what_the_stage_notes() -> None:
    def log(stage: str = "train") -> dict[str, Any]:
        return json.loads(Path(f"logs/{stage}.json").read_text())

    def git(*arguments: str) -> str:
        author = ["-c", "user.name=x", "-c", "user.email=x@x"]
        done = subprocess.run(["git", *author, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    with running():
        pass
    assert log()["seconds"] >= 0
    assert log()["torch"] == torch.__version__
    assert {"started", "machine", "cpus", "python", "threads", "peak_memory_mb"} <= set(log())
    assert log()["processor"]
    assert log()["commit"] is None  # the folder is no checkout
    git("init")
    with running():
        pass
    assert log()["commit"] is None  # not yet one
    git("commit", "--allow-empty", "-m", "first")
    first = git("rev-parse", "HEAD")
    with running():
        note(precision="float32")
        git("commit", "--allow-empty", "-m", "second")
    assert (log()["commit"], log()["precision"]) == (first, "float32")
    with running("compare"):
        pass
    assert "precision" not in log("compare")


def test_a_stage_removes_what_a_killed_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "YOUNG", 0)
    left = Path("models/integer/.writing-abc")
    left.mkdir(parents=True)
    with running():
        assert not left.exists()
