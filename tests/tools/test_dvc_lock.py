"""A `dvc.lock` that a kill has cut is named, and `inv repro` brings back the whole one."""

from __future__ import annotations

from pathlib import Path

import pytest
from closure import ROOT

from powtwo.tools import dvc_lock, prune, status

WHOLE = (ROOT / "dvc.lock").read_bytes()
CUTS = [b"", b"a: [", b"schema: '2.0'\n", WHOLE[: len(WHOLE) // 2], WHOLE[:-40], b"\xff"]


@pytest.mark.parametrize("cut", CUTS, ids=range(len(CUTS)))
def test_a_cut_lock_is_restored(
    cut: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_bytes(WHOLE)
    dvc_lock.mend(tmp_path)
    assert capsys.readouterr().err == ""
    lock.write_bytes(cut)
    dvc_lock.mend(tmp_path)
    assert lock.read_bytes() == WHOLE
    assert capsys.readouterr().err.startswith("dvc.lock: broken since a kill; the one before")


@pytest.mark.parametrize("cut", CUTS, ids=range(len(CUTS)))
def test_a_cut_lock_is_named_before_anything_is_done(cut: bytes, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_bytes(cut)
    old = tmp_path / "models/integer/old.safetensors"
    old.parent.mkdir(parents=True)
    old.touch()
    (tmp_path / "params.yaml").write_text("schemes: {a: {}}\nexport: {schemes: []}\n")
    with pytest.raises(ValueError, match=r"^dvc\.lock: broken; restore it by `git checkout"):
        dvc_lock.mend(tmp_path)
    with pytest.raises(ValueError, match=r"^dvc\.lock: broken, perhaps cut"):
        status.changes(tmp_path)
    with pytest.raises(SystemExit):
        prune.main([], tmp_path)
    assert old.exists()


def test_no_lock_is_none_to_mend(tmp_path: Path) -> None:
    dvc_lock.mend(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_lock_of_a_killed_dvc_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = tmp_path / ".dvc/tmp/rwlock"
    running.parent.mkdir(parents=True)
    running.touch()
    dvc_lock.mend(tmp_path)
    assert not running.exists()
    assert capsys.readouterr().err == ".dvc/tmp/rwlock: empty since a kill; removed\n"
    running.write_text("{}")
    dvc_lock.mend(tmp_path)
    assert running.read_text() == "{}"
