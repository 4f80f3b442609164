"""The guard around every stage: seeds, edits in between, one-line errors, logs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from closure import ROOT

from powtwo import stage as guard
from powtwo.stage import stage


@pytest.fixture(autouse=True)
def _workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def edit(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new, 1))


def test_it_seeds_every_generator() -> None:
    draws = []
    for _ in range(2):
        with stage("s", "seed"):
            draws.append((torch.rand(1).item(), np.random.rand(), guard.random.random()))
    assert draws[0] == draws[1]
    edit("seed: 0", "seed: 1")
    with stage("s", "seed"):
        assert (torch.rand(1).item(), np.random.rand(), guard.random.random()) != draws[0]


def test_it_is_deterministic_without_a_compiler() -> None:
    """PyTorch's own switch imports a compiler first, which takes two seconds."""
    code = """
import sys, torch
from powtwo.stage import stage
with stage("s", "seed"):
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
    with stage("s", "train"):
        assert torch.get_num_threads() == 1
    with stage("s", "train", fix_threads=True) as params:
        assert torch.get_num_threads() == params.train.threads == 2


def test_a_parameter_edited_meanwhile_fails_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, stage("s", "train", "seed"):
        edit("epochs: ", "epochs: 1")
    assert caught.value.code == 1
    expected = "s: params.yaml: train changed while the stage ran; run it again\n"
    assert capsys.readouterr().err == expected
    assert not Path("logs/s.json").exists()


def test_a_parameter_that_the_stage_does_not_read_may_change() -> None:
    with stage("s", "train"):
        edit("seed: 0", "seed: 9")


def test_code_edited_meanwhile_fails_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "module.py"
    module.write_text("before")
    monkeypatch.setattr(guard, "_own_modules", lambda: [module])
    with pytest.raises(SystemExit), stage("s", "seed"):
        module.write_text("after")
    assert f"s: {module} changed while the stage ran" in capsys.readouterr().err


def test_the_project_s_own_modules_are_watched() -> None:
    watched = {path.name for path in guard._own_modules()}
    assert {"stage.py", "params.py", "files.py", "__init__.py"} <= watched
    assert "test_stage.py" not in watched


def test_an_error_a_user_can_mend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, stage("s", "seed"):
        raise ValueError("data.path = None: give one")
    assert caught.value.code == 1
    assert capsys.readouterr().err == "s: data.path = None: give one\n"
    assert "Traceback" in Path("logs/s.error.txt").read_text()


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(TypeError), stage("s", "seed"):
        raise TypeError("a bug")


def test_wrong_parameters_stop_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    edit("epochs: ", "epochs: 0  # ")
    with pytest.raises(SystemExit), stage("s", "seed"):
        pytest.fail("the block must not run")
    assert "train.epochs = 0: Input should be greater than or equal to 1" in capsys.readouterr().err


def test_the_log_says_what_varies() -> None:
    with stage("s", "seed"):
        pass
    log = json.loads(Path("logs/s.json").read_text())
    assert log["seconds"] >= 0
    assert log["torch"] == torch.__version__
    assert {"started", "machine", "cpus", "python", "threads", "peak_memory_mb"} <= set(log)
    assert log["processor"]
    assert log["commit"] is None  # the folder is no checkout


def test_the_log_has_the_commit_and_what_the_stage_notes() -> None:
    def git(*arguments: str) -> str:
        author = ["-c", "user.name=x", "-c", "user.email=x@x"]
        done = subprocess.run(["git", *author, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init")
    with stage("s", "seed"):
        pass
    assert json.loads(Path("logs/s.json").read_text())["commit"] is None  # not yet one
    git("commit", "--allow-empty", "-m", "first")
    first = git("rev-parse", "HEAD")
    with stage("s", "seed"):
        guard.note(precision="float32")
        git("commit", "--allow-empty", "-m", "second")
    log = json.loads(Path("logs/s.json").read_text())
    assert (log["commit"], log["precision"]) == (first, "float32")
    with stage("t", "seed"):
        pass
    assert "precision" not in json.loads(Path("logs/t.json").read_text())
