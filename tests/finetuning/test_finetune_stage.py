"""The stage finetune, run as DVC runs it, on a handful of images."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs
import yaml
from training_runs import KILLED, ROOT, workplace

from powtwo.calibration.exponents import calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.images import Dataset
from powtwo.engine.base import Reference
from powtwo.finetuning.loop import measure
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.graph import GraphArchitecture
from powtwo.network.spec import LayerSpec, Specs

SCHEME = {
    "weights": {"observer": "mse", "bits": 2},
    "activations": {"observer": "mse", "bits": 4, "zero_point": 0},
    "rounding": "half_up",
}
RESIDUAL = GraphArchitecture(
    Specs(
        (3, 32, 32),
        (
            LayerSpec("conv2d", outputs=8, kernel=3, padding=1, stride=2, bias=False),
            LayerSpec("batch_norm"), LayerSpec("relu6"),
            LayerSpec("conv2d", outputs=8, kernel=3, padding=(2, 1, 0, 1), groups=4),
            LayerSpec("add", (3, 2)), LayerSpec("relu"),
            LayerSpec("avgpool2d", kernel=4, stride=4), LayerSpec("flatten"),
            LayerSpec("linear", outputs=2),
        ),
    )
)  # fmt: skip
ARCHITECTURES = {"stack": training_runs.SMALL, "graph": RESIDUAL}
EPOCHS = 4
TUNED = {**SCHEME, "finetune": {"epochs": EPOCHS}}
CALIBRATED, FINETUNED, CURVES = (
    Path(f"{place}/tiny.{end}")
    for place, end in (("models/calibrated", "safetensors"), ("models/finetuned", "safetensors"),
                       ("plots/finetuning", "csv"))
)  # fmt: skip


def prepared(folder: Path, options: dict, name: str = "stack") -> Path:
    """Make a folder with images and a calibrated network."""
    workplace(folder, training_images=96, threads=1)
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    values["schemes"], values["export"]["schemes"] = {"tiny": options}, ["tiny"]
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    network = architecture.build()
    dataset = Dataset.load(folder / "data/dataset.npz")
    images = torch.from_numpy(dataset.x_train)
    network.train()(training_runs.DYADIC(images))
    weights = dict(network.state_dict())
    checkpoint = Checkpoint(architecture, training_runs.DYADIC, weights)
    scheme = Scheme.model_validate(options)
    (folder / CALIBRATED).parent.mkdir(parents=True)
    calibrate(checkpoint, dataset.classes, images, scheme, 16).save(folder / CALIBRATED)
    return folder


def run(folder: Path, script: Path = ROOT / "src/finetune.py", **env: str) -> str:
    done = subprocess.run(
        [sys.executable, str(script), "tiny"], cwd=folder, capture_output=True, text=True,
        check=False, env=os.environ | env, timeout=300,
    )  # fmt: skip
    assert done.returncode == (-signal.SIGKILL if "KILL" in env else 0), done.stderr
    return done.stdout


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / CURVES).read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def tuned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = prepared(tmp_path_factory.mktemp("tuned") / request.param, TUNED, request.param)
    run(folder)
    return folder


@pytest.mark.slow
def test_a_scheme_without_the_section_hands_its_file_on_without_pytorch(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "run", SCHEME)
    blocked = tmp_path / "blocked/torch.py"
    blocked.parent.mkdir()
    blocked.write_text("raise ImportError('torch is not for this')")
    run(folder, PYTHONPATH=str(blocked.parent))
    assert (folder / FINETUNED).read_bytes() == (folder / CALIBRATED).read_bytes()
    assert history(folder) == []


@pytest.mark.slow
def test_it_learns_what_calibration_cannot_and_its_curve_is_of_the_integer_network(
    tuned: Path,
) -> None:
    dataset = Dataset.load(tuned / "data/dataset.npz")
    x, y = map(torch.from_numpy, (dataset.x_validation, dataset.y_validation))
    scheme = Scheme.model_validate(TUNED)
    before, after = (
        to_integer.convert(Calibrated.load(tuned / path), "tiny", scheme).network
        for path in (CALIBRATED, FINETUNED)
    )
    rows = history(tuned)
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(EPOCHS)]
    best = max(float(row["validation_accuracy"]) for row in rows)
    correct = Reference(after).predict(x) == y
    assert correct.double().mean().item() == pytest.approx(best, abs=1e-8)
    assert measure(after, x, y).accuracy == correct.double().mean().item()
    assert best > measure(before, x, y).accuracy
    assert {layer.weight.unique().numel() for layer in after.layers if layer.has_weights} == {3}


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(tuned: Path, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "killed", TUNED, tuned.name)
    run(folder, KILLED, KILL="saved 2")
    said = run(folder)
    assert "goes on after epoch 2" in said
    for path in (FINETUNED, CURVES):
        assert (folder / path).read_bytes() == (tuned / path).read_bytes()
    assert not list((folder / "checkpoints").iterdir())


@pytest.mark.slow
def test_the_float_layers_stay_as_calibration_had_them(tuned: Path) -> None:
    before, after = (Calibrated.load(tuned / path) for path in (CALIBRATED, FINETUNED))
    for one, other in zip(before.layers, after.layers, strict=True):
        if one.folded.weight is not None:
            assert np.array_equal(one.folded.weight, other.folded.weight)
            assert other.adapted is not None
            assert not np.array_equal(other.adapted.weight, one.folded.weight)


def test_a_loss_that_is_no_number_says_what_of_the_scheme_to_lower(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "run", {**SCHEME, "finetune": {"epochs": 1, "weight_decay": 1e6}})
    with pytest.raises(AssertionError, match="must be finite; lower finetune.learning_rate of the"):
        run(folder)
    assert not (folder / FINETUNED).exists()
