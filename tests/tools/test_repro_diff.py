"""What `inv repro` and `inv diff` say besides what DVC says."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest
from dvc.ui import ui

from powtwo.tools import diff, repro


def run(told: str, code: int, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `repro` with a DVC that tells what is given, and a hint."""

    def dvc(words: list[str]) -> int:
        assert words == ["repro", *arguments]
        ui.write(told, force=True)  # which dvc.cli.main enables
        ui.write(repro.PUSH, force=True)
        return code

    monkeypatch.setattr(repro, "dvc", dvc)
    monkeypatch.setattr(ui, "write", ui.write)  # and put back
    return repro.main(arguments)


def test_a_run_ends_with_the_report_and_no_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("nothing yet", 0, monkeypatch) == 0
    assert capsys.readouterr().out == "nothing yet\n"
    repro.REPORT.parent.mkdir()
    repro.REPORT.touch()
    assert run("done", 0, monkeypatch, "--force") == 0
    assert capsys.readouterr().out == "done\nThe report: report/index.html\n"
    assert not logging.getLogger("dvc.repo.scm_context").isEnabledFor(logging.INFO)
    for arguments, code in ((["train"], 0), (["--dry"], 0), ([], 5)):
        assert run("done", code, monkeypatch, *arguments) == code
        assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (["", "\n"], "\nno difference in parameters and metrics\n"),
        (["", "Path\n"], "Path\n"),
        (["Path\n", ""], "Path\n"),
    ],
)
def test_no_difference_is_said(
    tables: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kinds = dict(zip(("params", "metrics"), tables, strict=True))

    def dvc(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:3] + command[4:] == ["-m", "dvc", "diff", "v1"]
        return subprocess.CompletedProcess(command, 0, kinds[command[3]])

    monkeypatch.setattr(subprocess, "run", dvc)
    assert diff.main(["v1"]) == 0
    assert capsys.readouterr().out == said


def test_what_dvc_refuses_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = subprocess.CompletedProcess([], 251, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    assert diff.main([]) == 251
