"""A ZIP of the repository: DVC runs without Git there, and with it again once there is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clone import tiny_run

from powtwo.tools import no_git

SETTING = "[core]\n    no_scm = true\n"


def dvc_status(root: Path) -> int:
    command = [sys.executable, "-m", "dvc", "status"]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_dvc_is_told_once_and_told_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    local = tmp_path / ".dvc/config.local"
    local.write_text("[core]\n    autostage = false\n")
    assert dvc_status(tmp_path) != 0
    no_git.tell_dvc(tmp_path)
    said = capsys.readouterr().err
    assert said.startswith("no Git here: .dvc/config.local now has DVC run without it.")
    assert said.count("\n") == 1
    assert dvc_status(tmp_path) == 0
    no_git.tell_dvc(tmp_path)
    assert capsys.readouterr().err == ""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    no_git.tell_dvc(tmp_path)
    assert capsys.readouterr().err == ".dvc/config.local: DVC uses Git again\n"
    assert local.read_text() == "[core]\n    autostage = false\n"


@pytest.mark.parametrize(("git", "text"), [(True, ""), (True, None), (False, SETTING)])
def test_what_is_so_already_is_left_alone(tmp_path: Path, git: bool, text: str | None) -> None:
    (tmp_path / ".dvc").mkdir()
    if git:
        (tmp_path / ".git").write_text("gitdir: elsewhere")  # as in a worktree
    if text is not None:
        (tmp_path / no_git.LOCAL).write_text(text)
    no_git.tell_dvc(tmp_path)
    assert (tmp_path / no_git.LOCAL).exists() == (text is not None)
    assert text is None or (tmp_path / no_git.LOCAL).read_text() == text


@pytest.mark.pipeline
def test_tasks_run_in_a_zip(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    shutil.rmtree(clone.root / ".git")

    def inv(*arguments: str) -> str:
        done = clone.run(sys.executable, "-m", "invoke", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert inv("repro").count("no Git here: ") == 1
    assert "every stage is up to date" in inv("status")
    assert "Removing models\n" in inv("clean")
    assert "Running stage 'compare'" not in inv("repro")  # the cache has it all
    assert (clone.root / "models/float.safetensors").is_file()
    checked = clone.run(sys.executable, "-m", "invoke", "check")
    assert "passage" in checked.stdout  # of README, which is of another run
    assert "git" not in (checked.stdout + checked.stderr).lower()
