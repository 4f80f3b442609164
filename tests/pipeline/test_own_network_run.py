"""A network of the user's through the whole pipeline: read, followed, as it is or trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clone import AFTER_TRAINING, tiny_run

pytestmark = pytest.mark.pipeline

NETS = """
from torch import nn
from blocks import Block

def build(classes, image):
    return nn.Sequential(
        nn.Conv2d(image[0], 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6(),
        Block(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes),
    )
"""
BLOCKS = """
from torch import nn

class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x):
        return (x + self.conv(x)).relu()
"""


def own(values: dict[str, Any]) -> None:
    values["model"] = {"python": "mine/nets.py", "function": "build"}


def as_it_is(values: dict[str, Any]) -> None:
    values["train"]["epochs"] = 0


def test_a_network_of_two_files(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tiny_run(tmp_path_factory).copy(tmp_path / "copy")
    clone.edit_params(own)
    assert clone.repro(fails=True) == []
    assert "\nsource: model.python = mine/nets.py: no such file; correct it" in clone.output
    (clone.root / "mine").mkdir()
    (clone.root / "mine/nets.py").write_text(NETS, encoding="utf-8")
    (clone.root / "mine/blocks.py").write_text(BLOCKS, encoding="utf-8")
    every = sorted(["train", *AFTER_TRAINING])
    assert clone.repro() == every
    files = json.loads((clone.root / "models/source.json").read_text(encoding="utf-8"))["files"]
    assert list(files) == ["mine/blocks.py", "mine/nets.py"]
    assert clone.repro() == []
    clone.edit("mine/blocks.py", ", groups=channels", "")
    assert clone.repro() == every
    clone.edit_params(as_it_is)
    assert clone.repro() == every
    metrics = json.loads((clone.root / "metrics/train.json").read_text(encoding="utf-8"))
    assert metrics["epochs_run"] == 0
    report = (clone.root / "report/index.html").read_text(encoding="utf-8")
    assert "Weights as they were given, without training" in report
    clone.edit("mine/blocks.py", ".relu()", ".sigmoid()")
    assert clone.repro(fails=True) == ["train"]
    expected = "train: mine/nets.py: 3 (sigmoid): is not read; use ReLU or ReLU6;"
    assert expected in clone.output
