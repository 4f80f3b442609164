"""A training run that was killed goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from test_train_stage import OUTPUTS, ROOT, SCRIPT, run, workplace

from powtwo.training import checkpoints as progress
from powtwo.training.checkpoints import Checkpoints

CPU = torch.device("cpu")
EPOCHS = 9
# All that has a state of its own: momentum, average, generators, sides, the plateau's losses.
RECIPE = {
    "epochs": EPOCHS,
    "schedule": "plateau",
    "average": 0.9,
    "augment": {
        "crop": 2,
        "padding": "reflect",
        "flip": "alternating",
        "rotation": 10.0,
        "erasing": 0.5,
        "erasing_scale": [0.02, 0.1],
        "cutout": 4,
    },
}


def outputs(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = workplace(tmp_path_factory.mktemp("undisturbed") / "run", **RECIPE)
    assert run(folder).returncode == 0
    return outputs(folder)


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def kill_after(folder: Path, epoch: int, seconds: float = 0.0) -> list[str]:
    """Start the stage, kill it some time after a line about an epoch, and return its lines."""
    lines = []
    with start(folder) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("epoch ") and int(line.split()[1].split("/")[0]) >= epoch:
                break  # or a later one, where the kill before came late
        time.sleep(seconds)
        process.kill()
        assert process.wait() in (-signal.SIGKILL, 0)
    return lines


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], optimizer: str
) -> None:
    changes = {"optimizer": "adam", "nesterov": False, "learning_rate": 0.001}
    recipe = RECIPE | (changes if optimizer == "adam" else {})
    expected = undisturbed
    if optimizer == "adam":
        other = workplace(tmp_path / "undisturbed", **recipe)
        assert run(other).returncode == 0
        expected = outputs(other)
    # Anywhere: between epochs, within one, while one is saved; elsewhere each time.
    chance = random.Random(seed := random.SystemRandom().randrange(2**32))
    print(f"kills drawn with seed {seed}")  # pytest shows it where the test fails
    folder = workplace(tmp_path / "killed", **recipe)
    epochs = sorted(chance.sample(range(1, EPOCHS - 1), 3))
    for epoch in epochs:
        lines = kill_after(folder, epoch, chance.uniform(0, 0.05))
        assert lines[-1].startswith("epoch ")
        rows = (folder / "plots/training.csv").read_text().splitlines()
        assert len(rows) >= 1 + epoch  # the curves are there while it runs
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert "goes on after epoch" in process.stdout.splitlines()[0]
    assert len(process.stdout.splitlines()) <= 1 + EPOCHS - epochs[-1]
    assert outputs(folder) == expected
    assert not list((folder / "checkpoints").iterdir())
    log = json.loads((folder / "logs/train.json").read_text())
    assert log["earlier_seconds"] > 0  # what was not repeated is not forgotten either


def test_a_run_killed_after_its_last_epoch_only_writes(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    folder = workplace(tmp_path / "killed", **RECIPE)
    kill_after(folder, EPOCHS)
    assert run(folder).returncode == 0
    assert outputs(folder) == undisturbed


def edit(folder: Path, key: str) -> None:
    values = yaml.safe_load((folder / "params.yaml").read_text())
    section, _, name = key.partition(".")
    if key == "seed":
        values["seed"] += 1
    elif key == "data.normalize":
        values["data"]["normalize"] = "standard"
    else:
        values[section][name] = {"hidden": [7], "threads": 1}[name]
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.parametrize("key", ["seed", "data.normalize", "model.hidden", "train.threads"])
def test_another_run_s_checkpoint_is_left_alone(tmp_path: Path, key: str) -> None:
    folder = workplace(tmp_path / "foreign", epochs=3)
    kill_after(folder, 1)
    (kept,) = (folder / "checkpoints").iterdir()
    before = kept.read_bytes()
    fresh = workplace(tmp_path / "fresh", epochs=3)
    for place in (folder, fresh):
        edit(place, key)
    process = run(folder)
    assert process.returncode == 0, process.stderr
    named = key if key in ("seed", "data.normalize") else key.partition(".")[0]
    first, *others = process.stdout.splitlines()
    expected = f"checkpoints/{kept.name}: not used, as it differs in params.yaml: {named}"
    assert first == expected
    assert others[0].startswith("epoch 1/3")
    assert run(fresh).returncode == 0
    assert outputs(folder) == outputs(fresh)
    assert kept.read_bytes() == before  # for when its parameters come back


def test_other_images_and_other_code_are_another_run(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "foreign", epochs=3)
    kill_after(folder, 1)
    other = workplace(tmp_path / "other", epochs=3, training_images=64)
    shutil.copy(other / "data/dataset.npz", folder / "data/dataset.npz")
    assert "differs in the images" in run(folder).stdout
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    code = tmp_path / "src/powtwo/training/history.py"
    code.write_text(code.read_text() + "# changed\n")
    folder = workplace(tmp_path / "second", epochs=3)
    kill_after(folder, 1)
    process = run(folder, tmp_path / "src/train.py")
    assert "differs in src/powtwo/training/history.py\n" in process.stdout
    assert "epoch 1/3" in process.stdout


# The file


MARKS = {"seed": "0", "code": "abc"}
STATE = {"history": [(1, 0.5)], "tensor": torch.arange(3)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    Checkpoints(MARKS, tmp_path).write(STATE)
    found = Checkpoints(dict(reversed(MARKS.items())), tmp_path).read(CPU)
    assert found
    assert found["history"] == STATE["history"]
    assert torch.equal(found["tensor"], STATE["tensor"])


def test_a_renamed_file_of_another_run_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Checkpoints(MARKS, tmp_path)
    Checkpoints(MARKS | {"seed": "1"}, tmp_path).write(STATE)
    (path,) = tmp_path.iterdir()
    mine.write(STATE)
    (own,) = set(tmp_path.iterdir()) - {path}
    path.replace(own)
    assert mine.read(CPU) is None
    assert capsys.readouterr().out == (
        f"{own}: is broken, or of another run; starts from the beginning\n"
    )


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", None])
def test_a_broken_file_is_not_read(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Checkpoints(MARKS, tmp_path)
    mine.write(STATE)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    assert mine.read(CPU) is None
    assert "is broken" in capsys.readouterr().out
    other = Checkpoints(MARKS | {"seed": "1"}, tmp_path)
    assert other.read(CPU) is None
    assert "not used, as it differs in code (and 1 more)" in capsys.readouterr().out


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("the code ran",)


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Checkpoints(MARKS, tmp_path)
    mine.write(STATE | {"history": Bomb()})
    assert mine.read(CPU) is None
    assert "the code ran" not in capsys.readouterr().out


def test_a_copy_of_its_own_is_no_other_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Checkpoints(MARKS, tmp_path)
    mine.write(STATE)
    mine._path.rename(tmp_path / "train-copy.pt")
    assert mine.read(CPU) is None
    assert capsys.readouterr().out == ""


def test_what_ended_well_is_forgotten(tmp_path: Path) -> None:
    mine, other = Checkpoints(MARKS, tmp_path), Checkpoints({"seed": "5"}, tmp_path)
    mine.write(STATE)
    other.write(STATE)
    for path in (mine._path, other._path):
        (tmp_path / f".writing-{path.name}-abc").mkdir()
        (tmp_path / f".writing-{path.name}-abc/{path.name}").write_bytes(b"half")
    mine.remove()
    mine.remove()
    assert mine.read(CPU) is None
    left = {other._path.name, f".writing-{other._path.name}-abc"}  # it may be writing just now
    assert {path.name for path in tmp_path.iterdir()} == left
    assert other.read(CPU) is not None


def test_a_failed_write_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Checkpoints(MARKS, tmp_path)
    mine.write(STATE)

    def fails(_: object, file: object) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(progress.torch, "save", fails)
    with pytest.raises(OSError, match="no space"):
        mine.write({"history": []})
    assert mine.read(CPU)["history"] == STATE["history"]
