"""The file of a checkpoint: read as it was written, by its own run, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from powtwo.training import checkpoints
from powtwo.training.checkpoints import Checkpoints

FINGERPRINT = {"seed": "0", "code": "abc"}
STATE = {"history": [(1, 0.5)], "tensor": torch.arange(3)}


@pytest.fixture
def mine(tmp_path: Path) -> Checkpoints:
    saved = Checkpoints(FINGERPRINT, tmp_path)
    saved.write(STATE)
    return saved


@pytest.mark.usefixtures("mine")
def test_what_was_written_is_read(tmp_path: Path) -> None:
    state = Checkpoints(dict(reversed(FINGERPRINT.items())), tmp_path).read()
    assert state
    assert state["history"] == STATE["history"]
    assert torch.equal(state["tensor"], STATE["tensor"])


def test_a_renamed_file_of_another_run_is_not_read(tmp_path: Path, mine: Checkpoints) -> None:
    (own,) = tmp_path.iterdir()
    Checkpoints(FINGERPRINT | {"seed": "1"}, tmp_path).write(STATE)
    (other,) = set(tmp_path.iterdir()) - {own}
    other.replace(own)
    rule = "checkpoint of another run, which differs in seed; remove it to train from the beginning"
    with pytest.raises(ValueError, match=f"^{own}: {rule}$"):
        mine.read()
    assert own.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", None])
def test_a_damaged_file_is_refused(
    tmp_path: Path, mine: Checkpoints, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    rule = "damaged checkpoint, or of another version"
    with pytest.raises(
        ValueError, match=f"^{path}: {rule}; remove it to train from the beginning$"
    ):
        mine.read()
    other = Checkpoints(FINGERPRINT | {"seed": "1"}, tmp_path)
    assert other.read() is None
    assert capsys.readouterr().out == f"{path}: not used: {rule}\n"


@pytest.mark.usefixtures("mine")
def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        with pytest.raises(ValueError, match="damaged checkpoint"):
            checkpoints._load(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    assert checkpoints._load(whole)["fingerprint"] == FINGERPRINT


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the code ran",)


def test_nothing_in_a_file_is_run(mine: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    mine.write(STATE | {"history": Bomb()})
    with pytest.raises(ValueError, match=r"no checkpoint \(UnpicklingError\); remove it"):
        mine.read()
    assert "the code ran" not in capsys.readouterr().out


def test_a_copy_of_its_own_is_no_other_run(
    tmp_path: Path, mine: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "train-copy.pt")
    assert mine.read() is None
    assert capsys.readouterr().out == ""


def test_a_run_that_ended_well_removes_its_own_file(tmp_path: Path, mine: Checkpoints) -> None:
    (own,) = tmp_path.iterdir()
    Checkpoints({"seed": "5"}, tmp_path).write(STATE)
    (other,) = set(tmp_path.iterdir()) - {own}
    mine.remove()
    mine.remove()
    assert mine.read() is None
    assert set(tmp_path.iterdir()) == {other}
    assert not own.exists()
    assert Checkpoints({"seed": "5"}, tmp_path).read() is not None


def test_a_failed_write_leaves_the_last_good_one(
    mine: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object, file: object) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", fails)
    with pytest.raises(OSError, match="no space"):
        mine.write({"history": []})
    assert mine.read()["history"] == STATE["history"]
