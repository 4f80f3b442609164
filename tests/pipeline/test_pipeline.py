"""What reruns: a tiny pipeline in a temporary clone, read by its `Running stage` lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from closure import ROOT
from PIL import Image

pytestmark = pytest.mark.pipeline

CLASSES = ("disc", "square", "stripe")
SCHEMES = ("lab", "minmax-ceil")
TINY = {
    "data": {"name": "images", "validation": 0.25},
    "model": {"layout": [4, "M", 6, "M", 8, "M"], "hidden": [12]},
    "train": {"epochs": 2, "batch_size": 12},
    "calibrate": {"images": 12},
    "evaluate": {"sqnr_images": 8, "sensitivity_images": 8},
}


def of_scheme(name: str) -> list[str]:
    return [f"{stage}@{name}" for stage in ("calibrate", "convert", "evaluate", "energy")]


LAB = [*of_scheme("lab"), "export@lab"]  # the one scheme that is exported
AFTER_TRAINING = sorted([*LAB, *of_scheme("minmax-ceil"), "compare"])


def draw_images(folder: Path) -> None:
    """Draw three kinds of noisy shapes: real files that a network can tell apart."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 16
    shapes = (x**2 + y**2 < 90, np.maximum(abs(x), abs(y)) < 9, abs(x) % 8 < 3)
    for half, count in (("train", 24), ("test", 8)):
        for name, shape in zip(CLASSES, shapes, strict=True):
            (folder / half / name).mkdir(parents=True)
            for i in range(count):
                pixels = shape[..., None] * 150 + random.integers(0, 100, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / half / name / f"{i:02}.png")


class Clone:
    """A copy of the repository's files, as a Git repository of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root / "clone"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "results/")):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.root / name)
        (self.root / "dvc.lock").unlink(missing_ok=True)
        draw_images(root / "images")
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "POWTWO_DATA": str(root / "images"),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(root / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(root / "global"),
        }
        self.run("git", "init", "--quiet")
        self.edit_params(tiny)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def repro(self, *, fails: bool = False) -> list[str]:
        """Run `dvc repro` and return the stages it ran, sorted."""
        done = self.run(sys.executable, "-m", "dvc", "repro")
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        self.output = done.stdout + done.stderr
        return sorted(re.findall(r"Running stage '([^']+)'", done.stdout))

    def edit_params(self, change: object) -> None:
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(yaml.safe_dump(values), encoding="utf-8")

    def bytes_of(self, *folders: str) -> dict[str, bytes]:
        paths = [path for folder in folders for path in (self.root / folder).rglob("*.*")]
        return {str(path): path.read_bytes() for path in sorted(paths)}


def tiny(values: dict) -> None:
    for section, changes in TINY.items():
        values[section] |= changes
    values["schemes"] = {name: values["schemes"][name] for name in SCHEMES}
    values["export"] |= {"schemes": ["lab"], "images": 1}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = Clone(tmp_path_factory.mktemp("pipeline"))
    assert made.repro() == sorted(["download", "train", *AFTER_TRAINING])
    return made


def test_nothing_changed_runs_nothing(clone: Clone) -> None:
    assert clone.repro() == []
    assert "up to date" in clone.output


def test_where_the_images_lie_is_not_tracked(clone: Clone) -> None:
    clone.edit_params(lambda values: values["data"].update(path="/another/place"))
    assert clone.repro() == []


def test_one_scheme_changed_runs_its_stages_and_compare(clone: Clone) -> None:
    clone.edit_params(lambda values: values["schemes"]["lab"]["weights"].update(clamp=[-4, 0]))
    assert clone.repro() == sorted([*LAB, "compare"])


def test_the_energy_convention_changed_runs_energy_and_compare(clone: Clone) -> None:
    clone.edit_params(lambda values: values["energy"].update(zero_point="folded"))
    assert clone.repro() == ["compare", "energy@lab", "energy@minmax-ceil"]


def test_the_energy_table_changed_runs_energy_and_compare(clone: Clone) -> None:
    path = clone.root / "src/powtwo/energy/prices/lab.yaml"
    text = path.read_text(encoding="utf-8")
    assert "3.7" in text
    path.write_text(text.replace("3.7", "3.8"), encoding="utf-8")
    assert clone.repro() == ["compare", "energy@lab", "energy@minmax-ceil"]


def test_an_observer_s_code_changed_reruns_no_training(clone: Clone) -> None:
    path = clone.root / "src/powtwo/calibration/observers.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert clone.repro() == ["calibrate@lab", "calibrate@minmax-ceil"]  # same exponents: no more


def test_the_learning_rate_changed_runs_train_and_all_after(clone: Clone) -> None:
    clone.edit_params(lambda values: values["train"].update(learning_rate=0.03))
    assert clone.repro() == sorted(["train", *AFTER_TRAINING])


def test_a_failed_stage_leaves_earlier_outputs(clone: Clone) -> None:
    script = clone.root / "src/evaluate.py"
    honest = script.read_text(encoding="utf-8")
    script.write_text(honest.replace("main(sys.argv[1])", "raise ValueError('broken')"))
    clone.edit_params(lambda values: values["train"].update(learning_rate=0.02))
    ran = clone.repro(fails=True)
    assert "train" in ran
    assert "compare" not in ran
    weights = clone.bytes_of("models")
    assert any(path.endswith("float.safetensors") for path in weights)
    script.write_text(honest)
    assert "train" not in clone.repro()
    assert weights.items() <= clone.bytes_of("models").items()


def test_a_second_run_from_nothing_gives_the_same_bytes(clone: Clone) -> None:
    before = clone.bytes_of("metrics", "plots", "models", "report", "exports")
    lock = (clone.root / "dvc.lock").read_bytes()
    for folder in ("data", "metrics", "plots", "models", "report", "exports", ".dvc/cache"):
        shutil.rmtree(clone.root / folder)
    (clone.root / "dvc.lock").unlink()
    shutil.rmtree(clone.root.parent / "site")
    assert clone.repro() == sorted(["download", "train", *AFTER_TRAINING])
    assert clone.bytes_of("metrics", "plots", "models", "report", "exports") == before
    assert (clone.root / "dvc.lock").read_bytes() == lock


def test_an_unknown_observer_stops_calibration(clone: Clone) -> None:
    clone.edit_params(lambda values: values["schemes"]["lab"]["weights"].update(observer="nope"))
    assert "calibrate@lab" in clone.repro(fails=True)
    assert "calibrate-lab: observer = 'nope': must be one of kl, lab, minmax-ceil" in clone.output
