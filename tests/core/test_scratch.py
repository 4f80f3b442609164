"""What a killed process was writing is removed; what a living one writes is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from closure import ROOT

from powtwo.core import scratch

WRITER = """
import sys, time
from powtwo.core import files
with files.atomic(sys.argv[1]) as path:
    path.write_text("half")
    print("writes", flush=True)
    time.sleep(60)
"""
PLACES = ("data", "metrics/convert", "plots", "models/integer", "exports", "report", "logs",
          "checkpoints", ".")  # fmt: skip


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob(".writing-*"))


@pytest.fixture(autouse=True)
def _old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "YOUNG", 0)


@pytest.mark.parametrize("place", PLACES)
def test_leftovers_are_removed_and_named_wherever_stages_write(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / place / ".writing-abc"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_text("half")
    kept = tmp_path / place / "writing.json"
    kept.touch()
    scratch.remove_leftovers(tmp_path)
    assert not folder.exists()
    assert kept.exists()
    assert "writing-abc, which a killed process left\n" in capsys.readouterr().err


def test_what_earlier_versions_were_downloading_is_removed(tmp_path: Path) -> None:
    (tmp_path / "data/raw").mkdir(parents=True)
    for name in ("tmpab12_xyz", "tmp-mine.tar", "cifar-10-python.tar.gz"):
        (tmp_path / "data/raw" / name).touch()
    scratch.remove_leftovers(tmp_path)
    kept = sorted(path.name for path in (tmp_path / "data/raw").iterdir())
    assert kept == ["cifar-10-python.tar.gz", "tmp-mine.tar"]


def test_images_below_data_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / "data/mine/.writing-abc").mkdir(parents=True)
    scratch.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".writing-abc"]


def test_a_folder_that_is_new_may_yet_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "YOUNG", 60)
    (tmp_path / "data/.writing-abc").mkdir(parents=True)
    scratch.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".writing-abc"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_living_process_keeps_its_folder_and_a_killed_one_does_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "plots/a.csv")],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "writes\n"
        scratch.remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
    scratch.remove_leftovers(tmp_path)
    assert names(tmp_path) == []
