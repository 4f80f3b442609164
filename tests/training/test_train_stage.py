"""The stage train, run as DVC runs it, on a handful of images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from training_runs import OUTPUTS, ROOT, STATEFUL, outputs, recipe, workplace

from powtwo.core import files
from powtwo.dataset.images import Dataset
from powtwo.network.checkpoint import Checkpoint
from powtwo.training import reporting
from powtwo.training.history import Epoch, evaluate

EPOCHS = 6
COLUMNS = [
    "epoch", "learning_rate", "train_loss", "validation_loss", "train_accuracy",
    "validation_accuracy",
]  # fmt: skip


@pytest.mark.slow
def test_metrics_are_those_of_the_saved_network(undisturbed: tuple[Path, str]) -> None:
    folder, _ = undisturbed
    metrics = files.read_json(folder / "metrics/train.json")
    checkpoint = Checkpoint.load(folder / "models/float.safetensors")
    dataset = Dataset.load(folder / "data/dataset.npz")
    expected: dict[str, Any] = {
        "parameters": 112 + 8 + 148 + 8 + 390 + 14,
        "size_mb": 680 * 4 / 2**20,
    }
    for part in ("train", "validation", "test"):
        x, y = (torch.from_numpy(getattr(dataset, f"{axis}_{part}")) for axis in "xy")
        measure = evaluate(checkpoint.network(), x, y, checkpoint.normalization)
        expected |= {f"{part}_loss": measure.loss, f"{part}_accuracy": measure.accuracy}
    expected["generalization_gap"] = expected["train_accuracy"] - expected["validation_accuracy"]
    assert expected["generalization_gap"] != 0  # or its sign would not be tested
    for key, value in expected.items():
        assert metrics.pop(key) == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert metrics.pop("epochs_run") == EPOCHS
    assert 1 <= metrics.pop("best_epoch") <= EPOCHS
    assert not metrics


@pytest.mark.slow
def test_curves_and_lines_tell_every_epoch(undisturbed: tuple[Path, str]) -> None:
    folder, printed = undisturbed
    metrics = files.read_json(folder / "metrics/train.json")
    with (folder / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS
    epochs = range(1, EPOCHS + 1)
    assert [row[0] for row in rows] == [str(epoch) for epoch in epochs]
    best = dict(zip(header, rows[metrics["best_epoch"] - 1], strict=True))
    assert float(best["validation_accuracy"]) == metrics["validation_accuracy"]
    assert float(best["validation_loss"]) == pytest.approx(metrics["validation_loss"], rel=1e-4)
    lines = printed.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"epoch {n}/{EPOCHS}" for n in range(1, EPOCHS + 1)
    ]
    assert all("images/s" in line and "left" in line for line in lines)


@pytest.mark.slow
def test_a_second_run_writes_the_same_bytes_and_leaves_no_checkpoint(
    undisturbed: tuple[Path, str], stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here in a process that has run other things before."""
    torch.rand(3)
    again = workplace(tmp_path / "second", epochs=EPOCHS, **STATEFUL)
    monkeypatch.chdir(again)
    stage.main()
    assert outputs(again) == outputs(undisturbed[0])
    for folder in (again, undisturbed[0]):
        assert not list((folder / "checkpoints").iterdir())


def test_a_diverging_run_stops_with_one_line_and_no_network(
    stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace(tmp_path / "wild", learning_rate=1e30, precision="float32"))
    with pytest.raises(SystemExit) as caught:
        stage.main()
    assert caught.value.code == 1
    _, line = capsys.readouterr().err.splitlines()  # the first warns of few steps
    assert line.startswith("train: loss = ")
    assert "step " in line
    assert not any(Path(name).exists() for name in OUTPUTS)


def test_the_threads_are_those_of_the_parameters(
    stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bytes of the weights depend on their number, so the machine must not choose it."""
    for threads in (1, 2):
        monkeypatch.chdir(workplace(tmp_path / str(threads), epochs=1, threads=threads))
        stage.main()
        assert files.read_json("logs/train.json")["threads"] == threads


def test_the_lab_s_recipe_runs(stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Adam, plateau, rotation and erasing together, as nowhere else."""
    changes = yaml.safe_load((ROOT / "presets/cifar10-lab-adam.yaml").read_text("utf-8"))["train"]
    default = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))[
        "train"
    ]["augment"]
    changes["augment"] = default | changes["augment"]
    monkeypatch.chdir(workplace(tmp_path / "lab", **changes | {"epochs": 2, "batch_size": 8}))
    stage.main()


@pytest.mark.parametrize(
    ("images", "epochs", "said"),
    [
        (3600, 4, ""),
        (72, 4, "make 4 steps of 72 images, and a network learns little in fewer than 100; lower"),
        (3199, 4, "make 96 steps of 128 images, and a network learns little"),
        (3200, 4, ""),
        (127, 100, "make 100 steps of 127 images, not 128, so each takes all of them; lower"),
        (128, 100, ""),
    ],
)
def test_too_few_steps_are_warned_of(images: int, epochs: int, said: str) -> None:
    line = reporting.few_steps(recipe(batch_size=128, epochs=epochs), images)
    assert said in line
    assert line.startswith("warning: ") == bool(said)
    assert "train.batch_size" in line or not said


def test_speed_is_of_the_last_epoch_and_time_left_of_the_usual_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    now = 0.0
    monkeypatch.setattr(reporting.time, "perf_counter", lambda: now)
    reporter, history = reporting.Reporter(9, 100), []
    for epoch, seconds in enumerate((10.0, 200.0, 8.0), start=1):  # held in the second
        now += seconds
        history.append(Epoch(epoch, 0.1, 1.0, 1.0, 0.5, 0.5))
        reporter(history)
    ends = [line.rsplit("), ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert ends == ["10 images/s, 80 s left", "0 images/s, 735 s left", "12 images/s, 60 s left"]
