"""The ablation on a handful of images: what it reads, what it keeps, and the table of its rows."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from training_runs import ROOT, images

from powtwo.core import files
from powtwo.tools import presets
from powtwo.tools.docs import ablation, benchmarks
from powtwo.tools.docs.ablation import BASE, CHANGES, Row
from powtwo.tools.published import flat

SCRIPT = ROOT / "benchmarks/ablation.py"
PARAMS = ROOT / "tests/data/params.yaml"
RECIPE = presets.parameters("cifar10-jpeg", PARAMS, ROOT / "presets").train
ROW = Row("p", BASE, 16, 0, 0.80, 0.5, 5000, "ab", "2.13", "float32", "AVX2", 2)


def rows_of(path: Path) -> list[Row]:
    return benchmarks.read(path, Row)


def place(folder: Path) -> Path:
    """Make a folder to run in, whose data set has no test images."""
    (folder / "data").mkdir(parents=True)
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    values["model"] = {"layout": [4, "M", 4, "M", "M"], "hidden": [6]}
    values["train"]["threads"] = 1
    text = yaml.safe_dump(values, default_flow_style=None)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    parts = [images(count, seed) for seed, count in enumerate((600, 60))]
    names = ("x_train", "y_train", "x_validation", "y_validation")
    arrays = dict(zip(names, (array for part in parts for array in part), strict=True))
    files.write_json(folder / "metrics/download.json", {"name": "images"})
    np.savez(folder / "data/dataset.npz", **arrays, classes=np.array(["dark", "bright"]))
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--rows", "rows.csv", "--epochs", "2", *arguments]


def ablate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_killed_ablation_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    folder, changes = place(tmp_path / "killed"), ("--changes", BASE, "no crop")
    with subprocess.Popen(
        command(*changes), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("no crop, seed 0: epoch 1/2"):
                break
        process.kill()
        assert process.wait() == -signal.SIGKILL
    first = (folder / "rows.csv").read_bytes()
    done = ablate(folder, *changes)
    assert done.returncode == 0, done.stderr
    assert [line.split(": ", 1)[1][:9] for line in done.stdout.splitlines()] == [
        "goes on a",
        "epoch 2/2",
    ]
    both = (folder / "rows.csv").read_bytes()
    assert both.startswith(first)
    again = place(tmp_path / "undisturbed")
    assert ablate(again, *changes).returncode == 0
    assert (again / "rows.csv").read_bytes() == both
    assert ablate(folder, *changes).stdout == ""
    assert (folder / "rows.csv").read_bytes() == both
    assert not list((folder / "checkpoints/ablation").iterdir())
    rows = rows_of(folder / "rows.csv")
    assert [row.title for row in rows] == [("cifar10-jpeg", name, 2, 0) for name in changes[1:]]
    assert rows[0].recipe != rows[1].recipe
    assert {(row.validation_images, row.threads) for row in rows} == {(60, 1)}
    assert (folder / "params.yaml").read_bytes() == (again / "params.yaml").read_bytes()


@pytest.mark.slow
def test_the_unchanged_run_is_the_stage_s(tmp_path: Path) -> None:
    folder = place(tmp_path)
    assert ablate(folder, "--changes", BASE, "--seeds", "3").returncode == 0
    (row,) = rows_of(folder / "rows.csv")
    presets.use("cifar10-jpeg", folder / "params.yaml", ROOT / "presets")
    values = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    values["train"] |= {"epochs": 2}
    text = yaml.safe_dump(values | {"seed": 3})
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    arrays = dict(np.load(folder / "data/dataset.npz"))
    arrays |= {f"{axis}_test": arrays[f"{axis}_validation"] for axis in "xy"}
    np.savez(folder / "data/dataset.npz", **arrays)
    subprocess.run([sys.executable, str(ROOT / "src/train.py")], cwd=folder, check=True)
    with (folder / "plots/training.csv").open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    assert row.validation_accuracy == float(last["validation_accuracy"])
    assert row.validation_loss == float(last["validation_loss"])


@pytest.mark.slow
def test_images_of_another_source_and_rows_of_another_recipe_are_refused(tmp_path: Path) -> None:
    folder = place(tmp_path)
    row = ROW._replace(preset="cifar10-jpeg", epochs=2)
    benchmarks.add(folder / "rows.csv", row)
    done = ablate(folder, "--changes", BASE)
    assert (done.returncode, done.stderr) == (1, (
        "ablation: rows.csv: cifar10-jpeg, change 'none', seed 0: is of another recipe or of other "
        "images; move the file away\n"
    ))  # fmt: skip
    files.write_json(folder / "metrics/download.json", {"name": "mnist5k"})
    done = ablate(folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "ablation: data/dataset.npz: is of mnist5k, and preset cifar10-jpeg is for images; "
    )
    assert rows_of(folder / "rows.csv") == [row]


# One change at a time


def test_every_change_changes_one_value() -> None:
    recipe = RECIPE.model_copy(update={"patience": 3, "processes": 2})
    before = flat(ablation.changed(recipe, BASE, 16).model_dump())
    assert (before["epochs"], before["patience"], before["processes"]) == (16, 0, 1)
    differences = {}
    for name in CHANGES:
        after = flat(ablation.changed(recipe, name, 16).model_dump())
        differences[name] = {key: value for key, value in after.items() if value != before[key]}
    assert differences == {
        "none": {},
        "no crop": {"augment.crop": 0},
        "constant padding": {"augment.padding": "constant"},
        "random flip": {"augment.flip": "random"},
        "no flip": {"augment.flip": "none"},
        "no cutout": {"augment.cutout": 0},
        "no label smoothing": {"label_smoothing": 0.0},
        "plain momentum": {"nesterov": False},
        "decay on all": {"decay": "all"},
        "cosine": {"schedule": "cosine"},
        "no weight average": {"average": 0.0},
        "half the rate": {"learning_rate": 0.1},
        "double the rate": {"learning_rate": 0.4},
    }


# The table


def test_means_are_over_seeds_and_differences_within_them() -> None:
    rows = [
        ROW,
        ROW._replace(seed=1, validation_accuracy=0.82, validation_loss=0.7),
        ROW._replace(change="cosine", validation_accuracy=0.79, validation_loss=0.6),
        ROW._replace(change="cosine", seed=1, validation_accuracy=0.80, validation_loss=0.6),
        ROW._replace(change="no crop", seed=1, validation_accuracy=0.72, validation_loss=0.9),
        ROW._replace(change="double the rate", validation_accuracy=None, validation_loss=None),
    ]
    sentence, _, _, _, *lines = ablation.table(rows[::-1]).splitlines()
    assert sentence.endswith("5,000 validation images, on PyTorch 2.13, float32, AVX2, 2 threads:")
    assert lines == [
        "| none | 81.00% ± 1.41% | – | 0.6000 ± 0.1414 | 2 |",
        "| no crop | 72.00% | -10.00 | 0.9000 | 1 |",
        "| cosine | 79.50% ± 0.71% | -1.50 ± 0.71 | 0.6000 | 2 |",
        "| double the rate | 1 diverged | – | – | 1 |",
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [("processor", "x"), ("precision", "x"), ("torch", "x"), ("threads", 9), ("seed", 9)],
)
def test_runs_of_unlike_seeds_or_machines_are_not_compared(column: str, value: str | int) -> None:
    here = ROW._replace(change="cosine")
    there = here._replace(**{column: value})
    assert "| cosine | 80.00% | +0.00 |" in ablation.table([ROW, here])
    assert "| cosine | 80.00% | – |" in ablation.table([ROW, there])
    assert here.run != there.run


def test_presets_and_lengths_have_tables_of_their_own() -> None:
    text = ablation.table([ROW, ROW._replace(epochs=8), ROW._replace(preset="q")])
    assert text.count("| change |") == 3
