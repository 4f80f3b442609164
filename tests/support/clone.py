"""A tiny pipeline: a copy of the repository that trains on a handful of drawn images."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import yaml
from closure import ROOT
from filelock import FileLock
from PIL import Image

CLASSES = ("disc", "square", "stripe")
SCHEMES = ("lab", "minmax-ceil")
EXPORTED = "lab"
PARAMS = ROOT / "tests/data/params.yaml"  # the default ones; a user may have edited the others
TINY = {
    "data": {"name": "images", "validation": 0.25},
    "model": {"layout": [4, "M", 6, "M", 8, "M"], "hidden": [12]},
    "train": {"epochs": 2, "batch_size": 12},
    "calibrate": {"images": 12},
    "evaluate": {"sqnr_images": 8, "sensitivity_images": 8},
}


def of_scheme(name: str) -> list[str]:
    """List the stages that run for a scheme."""
    stages = ["calibrate", "finetune", "convert", "evaluate", "energy"] + ["export"] * (
        name == EXPORTED
    )
    return [f"{stage}@{name}" for stage in stages]


AFTER_TRAINING = sorted(
    ["evaluate-float", *(stage for name in SCHEMES for stage in of_scheme(name)), "compare"]
)


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

    def __init__(self, folder: Path) -> None:
        """Take the clone that lies in `folder`; `make` and `copy` put one there."""
        self.folder, self.root, self.output = folder, folder / "clone", ""
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "POWTWO_DATA": str(folder / "images"),
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        }

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Copy the repository, without what was measured, and make its run a tiny one."""
        if not (ROOT / ".git").exists():
            pytest.skip("no Git here, which lists the files to copy")
        clone = cls(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("metrics/", "plots/", "results/")):
                (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, clone.root / name)
        (clone.root / "dvc.lock").unlink(missing_ok=True)
        shutil.copy(PARAMS, clone.root)  # whatever the user's are
        draw_images(folder / "images")
        clone.run("git", "init", "--quiet")
        clone.edit_params(tiny)
        return clone

    def copy(self, folder: Path) -> Clone:
        """Return a copy that may be changed; the images and the cache of runs come along."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Clone(folder)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command at the clone's root."""
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def repro(self, *, fails: bool = False) -> list[str]:
        """Run `dvc repro` and return the stages it ran, sorted; but `source`, which always runs."""
        done = self.run(sys.executable, "-m", "dvc", "repro")
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        self.output = done.stdout + done.stderr
        first, *others = re.findall(r"Running stage '([^']+)'", done.stdout)
        assert first == "source"
        return sorted(others)

    def edit_params(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the values of params.yaml in place."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(yaml.safe_dump(values), encoding="utf-8")

    def edit(self, name: str, old: str = "", new: str = "\n# changed\n") -> None:
        """Replace a piece of a file, or add a comment at its end."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, name
        path.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")

    def bytes_of(self, *folders: str) -> dict[str, bytes]:
        """Return the bytes of every file under some folders, by its path from the root."""
        paths = [path for folder in folders for path in (self.root / folder).rglob("*.*")]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in sorted(paths)}


def tiny(values: dict[str, Any]) -> None:
    """Make the default parameters those of a run of seconds."""
    for section, changes in TINY.items():
        values[section] |= changes
    values["schemes"] = {name: values["schemes"][name] for name in SCHEMES}
    values["export"] |= {"schemes": [EXPORTED], "images": 1}


def tiny_run(factory: pytest.TempPathFactory) -> Clone:
    """Return a clone whose pipeline has run once; all tests share it, and change but copies."""
    base = factory.getbasetemp()
    # Workers of pytest-xdist have a folder each, in one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "tiny-run"
    with FileLock(shared / "tiny-run.lock"):
        if not (folder / "clone/report/index.html").exists():
            assert Clone.make(folder).repro() == sorted(["download", "train", *AFTER_TRAINING])
    return Clone(folder)
