"""The table and the picture of published networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published_run import publish_as

from powtwo.tools.docs import networks

VGG, RESNET8 = networks.NETWORKS.values()


def test_schemes_of_both_networks_stand_in_one_table(tmp_path: Path) -> None:
    publish_as(tmp_path, VGG, accuracy=0.9)
    publish_as(tmp_path, RESNET8, accuracy=0.8)
    sentence, *rows = networks.table(networks.read(tmp_path)).splitlines()
    assert "trainings: 1 of VGG, 1 of resnet8," in sentence
    assert [row.split(" | ")[3] for row in rows if "`lab`" in row] == ["90.00", "80.00"]


def test_what_is_drawn_is_energy_and_accuracy(tmp_path: Path) -> None:
    for run in (VGG, RESNET8):
        publish_as(tmp_path, run, accuracy=0.9)
    recipes = networks.read(tmp_path)
    drawn = networks.points("VGG", recipes["VGG"])
    assert next(iter(drawn)) == "VGG"
    assert drawn["lab"][1] == pytest.approx(90)
    texts = {text.get_text() for text in networks.picture(recipes).axes[0].texts}
    assert any("resnet8" in text for text in texts)


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    publish_as(tmp_path, VGG)
    with pytest.raises(ValueError, match=f"^results/{RESNET8}: no such run; publish it$"):
        networks.read(tmp_path)
    folder = publish_as(tmp_path, RESNET8)
    networks.read(tmp_path)
    path = folder / "metrics/download.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": "cd"}), encoding="utf-8")
    with pytest.raises(ValueError, match="^results: images: differ among "):
        networks.read(tmp_path)
