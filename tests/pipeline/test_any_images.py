"""From class folders to verified exports and the report, on images that are not 3×32×32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from clone import CLASSES, PARAMS, SCHEMES, tiny
from closure import ROOT
from image_files import opened
from PIL import Image

from powtwo.dataset.images import Dataset
from powtwo.integer.network import IntegerNetwork
from powtwo.network.checkpoint import Checkpoint
from powtwo.tools.exports.verify import CHECKS, verify

pytestmark = pytest.mark.slow

IMAGENET = {"normalize": "standard", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CASES = {  # by the shape of an image, what `data` says of it
    (1, 28, 28): {"size": 28, "channels": 1},
    (3, 40, 56): {"size": [40, 56], "resize": "pad", **IMAGENET},
}


class Run(NamedTuple):
    """A run that has ended, in its folder."""

    root: Path
    shape: tuple[int, int, int]
    output: str


def draw_images(folder: Path) -> None:
    """Draw dark, gray and bright images of many sizes."""
    random = np.random.default_rng(0)
    for half, count in (("train", 12), ("test", 4)):
        for brightness, name in enumerate(CLASSES):
            (folder / half / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 120, (*random.integers(20, 70, 2), 3))
                image = Image.fromarray((pixels + 60 * brightness).astype(np.uint8))
                image.save(folder / half / name / f"{index}.png")


def parameters(data: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    tiny(values)
    values["data"] |= {"path": "images", **data}
    values["schemes"][SCHEMES[1]]["activations"]["zero_point"] = 0
    values["export"]["schemes"] = list(SCHEMES)
    return values


@pytest.fixture(scope="module", params=CASES, ids=str)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root, shape = tmp_path_factory.mktemp("images"), request.param
    draw_images(root / "images")
    (root / "params.yaml").write_text(yaml.safe_dump(parameters(CASES[shape])), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "POWTWO_DATA"}
    script = ROOT / "tests/support/every_stage.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(ROOT / "src")],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Run(root, shape, done.stdout)


def test_every_file_is_for_images_of_the_shape(run: Run) -> None:
    dataset = Dataset.load(run.root / "data/dataset.npz")
    checkpoint = Checkpoint.load(run.root / "models/float.safetensors")
    assert dataset.shape == checkpoint.architecture.image == run.shape
    for scheme in SCHEMES:
        network = IntegerNetwork.load(run.root / f"models/integer/{scheme}.safetensors")
        assert network.input.shape == run.shape
        assert network.input.normalization == checkpoint.normalization
    if run.shape[0] == 3:
        assert list(checkpoint.normalization.mean or ()) == IMAGENET["mean"]


def test_a_line_says_how_many_images_were_resized(run: Run) -> None:
    (line,) = [line for line in run.output.splitlines() if "resized" in line]
    paths = (run.root / "images").rglob("*.png")
    sizes = [opened(path.read_bytes()).size for path in paths]
    others = sum(size != run.shape[:0:-1] for size in sizes)
    assert f"images: {others} × resized to {run.shape[1]}×{run.shape[2]}: the " in line


def test_every_export_equals_its_network(run: Run) -> None:
    outcomes = [f"{file}: {outcome}" for file, outcome in verify(run.root, [])]
    assert [line for line in outcomes if "equal" not in line and "as recorded" not in line] == []
    assert len(outcomes) == len(CHECKS) * len(SCHEMES)


def test_energy_counts_the_pixels_and_the_report_is_there(run: Run) -> None:
    table = (run.root / f"plots/energy/{SCHEMES[0]}.csv").read_text(encoding="utf-8").splitlines()
    read = next(line for line in table if line.startswith("0,conv2d,integer,activations_read"))
    assert int(read.split(",")[5]) == np.prod(run.shape)
    compared = json.loads((run.root / "metrics/compare.json").read_text(encoding="utf-8"))
    assert compared["energy_ratio"].keys() == set(SCHEMES)
    assert "</html>" in (run.root / "report/index.html").read_text(encoding="utf-8")
