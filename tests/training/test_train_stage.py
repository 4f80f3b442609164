"""The stage train, run as DVC runs it, on a handful of images."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from powtwo.core import files
from powtwo.core.stage import read_params
from powtwo.dataset.images import Dataset
from powtwo.network.checkpoint import Checkpoint
from powtwo.training import loop as training
from powtwo.training import reporting
from powtwo.training.history import Epoch
from powtwo.training.processes import Group

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "src/train.py"
OUTPUTS = (
    "models/float.safetensors",
    "metrics/train.json",
    "plots/training.csv",
)
COLUMNS = [
    "epoch",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "train_accuracy",
    "validation_accuracy",
]


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images that are dark or bright; one label in four is wrong, so that parts differ."""
    generator = np.random.default_rng(seed)
    bright = generator.integers(0, 2, count)
    pixels = generator.integers(0, 120, (count, 3, 32, 32)) + 90 * bright[:, None, None, None]
    return pixels.astype(np.uint8), bright ^ (generator.random(count) < 0.25)


def workplace(folder: Path, *, training_images: int = 60, **train: Any) -> Path:
    """Make a folder in which the stage can run."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["model"] = {"layout": [4, "M", 4, "M", "M"], "hidden": [6]}
    values["train"] |= {"epochs": 3, "batch_size": 8, "patience": 0} | train
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    parts = [images(count, seed) for seed, count in enumerate((training_images, 20, 12))]
    arrays = [array for part in parts for array in part]
    Dataset(*arrays, classes=("dark", "bright")).save(folder / "data/dataset.npz")
    return folder


def run(folder: Path, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = workplace(tmp_path_factory.mktemp("train") / "first")
    process = run(folder)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""  # no progress bar where nobody watches
    return folder, process.stdout


def test_metrics_are_those_of_the_saved_network(done: tuple[Path, str]) -> None:
    folder, _ = done
    metrics = files.read_json(folder / "metrics/train.json")
    checkpoint = Checkpoint.load(folder / "models/float.safetensors")
    dataset = Dataset.load(folder / "data/dataset.npz")
    expected: dict[str, Any] = {
        "parameters": 112 + 8 + 148 + 8 + 390 + 14,
        "size_mb": 680 * 4 / 2**20,
    }
    for part in ("train", "validation", "test"):
        x, y = (torch.from_numpy(getattr(dataset, f"{axis}_{part}")) for axis in "xy")
        measure = training.evaluate(checkpoint.network(), x, y, checkpoint.normalization)
        expected |= {f"{part}_loss": measure.loss, f"{part}_accuracy": measure.accuracy}
    expected["generalization_gap"] = expected["train_accuracy"] - expected["validation_accuracy"]
    assert expected["generalization_gap"] != 0  # or its sign would not be tested
    for key, value in expected.items():
        assert metrics.pop(key) == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert metrics.pop("epochs_run") == 3
    assert 1 <= metrics.pop("best_epoch") <= 3
    assert not metrics


def test_curves_and_lines_tell_every_epoch(done: tuple[Path, str]) -> None:
    folder, printed = done
    metrics = files.read_json(folder / "metrics/train.json")
    with (folder / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS
    assert [row[0] for row in rows] == ["1", "2", "3"]
    best = dict(zip(header, rows[metrics["best_epoch"] - 1], strict=True))
    assert float(best["validation_accuracy"]) == metrics["validation_accuracy"]
    assert float(best["validation_loss"]) == pytest.approx(metrics["validation_loss"], rel=1e-4)
    lines = printed.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {n}/3" for n in (1, 2, 3)]
    assert all("images/s" in line and "left" in line for line in lines)


def test_a_second_run_writes_the_same_bytes(done: tuple[Path, str], tmp_path: Path) -> None:
    again = workplace(tmp_path / "second")
    assert run(again).returncode == 0
    for name in OUTPUTS:
        assert (again / name).read_bytes() == (done[0] / name).read_bytes(), name


def assert_diverged(folder: Path) -> None:
    """Run the stage, which must end in one line about its loss and write nothing."""
    process = run(folder)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("train: loss = ")
    assert "step " in line
    assert not any((folder / name).exists() for name in OUTPUTS)


def test_a_diverging_run_stops_with_one_line_and_no_network(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "wild", learning_rate=1e30, precision="float32")
    assert_diverged(folder)


def test_no_checkpoint_stays_behind_a_run_that_ended_well(done: tuple[Path, str]) -> None:
    assert not list((done[0] / "checkpoints").iterdir())


def test_the_threads_are_those_of_the_parameters(tmp_path: Path) -> None:
    """The bytes of the weights depend on their number, so the machine must not choose it."""
    for threads in (1, 2):
        folder = workplace(tmp_path / str(threads), epochs=1, threads=threads)
        assert run(folder).returncode == 0
        assert files.read_json(folder / "logs/train.json")["threads"] == threads


def test_the_lab_s_recipe_runs(tmp_path: Path) -> None:
    """Adam, plateau, rotation and erasing together, as nowhere else."""
    changes = yaml.safe_load((ROOT / "presets/cifar10-lab-adam.yaml").read_text("utf-8"))["train"]
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]["augment"]
    changes["augment"] = default | changes["augment"]
    folder = workplace(tmp_path / "lab", **changes | {"epochs": 2, "batch_size": 8})
    process = run(folder)
    assert process.returncode == 0, process.stderr


@pytest.fixture(name="stage")
def _stage() -> Any:
    spec = importlib.util.spec_from_file_location("stage_train", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reads(stage: Any) -> Any:
    """Return what the stage reads of the current folder's params.yaml."""
    return stage.Reads.read(read_params())


def test_a_processor_of_the_same_kind_in_another_precision_is_another(
    stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """AVX-512 alone does not tell whether `auto` is bfloat16."""
    folder = workplace(tmp_path / "run", precision="auto")
    monkeypatch.chdir(folder)
    given = reads(stage), Dataset.load("data/dataset.npz")
    native = "powtwo.training.devices.torch.cpu._is_avx512_bf16_supported"
    found = []
    for kernels in (True, False):
        monkeypatch.setattr(native, lambda kernels=kernels: kernels)
        monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
        monkeypatch.setattr("powtwo.training.devices.platform.machine", lambda: "x86_64")
        found.append(stage.depends_on(*given))
    differ = {key for key in found[0] if found[0][key] != found[1][key]}
    assert differ == {"the precision"}


def test_a_processor_of_another_name_is_another(
    stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = workplace(tmp_path / "run")
    monkeypatch.chdir(folder)
    given = reads(stage), Dataset.load("data/dataset.npz")
    before = stage.depends_on(*given)
    monkeypatch.setattr("powtwo.training.devices.processor", lambda: "another")
    after = stage.depends_on(*given)
    assert {key for key in before if before[key] != after[key]} == {"the processor"}


def test_a_run_that_goes_on_shows_its_curves_at_once(
    stage: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DVC has removed those of before, and the next epoch may take minutes."""
    monkeypatch.chdir(workplace(tmp_path / "run"))
    history = [Epoch(1, 0.1, 1.0, 1.0, 0.5, 0.5)]

    def fit(*_: Any, on_resume: Callable[[list[Epoch]], None], **__: Any) -> None:
        on_resume(history)
        raise KeyboardInterrupt

    monkeypatch.setattr(stage.loop, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        stage.run(reads(stage), Group())
    assert len(Path("plots/training.csv").read_text().splitlines()) == 2


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
