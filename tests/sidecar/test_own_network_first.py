"""A network of the user's that cannot be read is refused before images are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from closure import ROOT

from powtwo.network.params import Model
from powtwo.network.reading.read import read
from powtwo.sidecar.run_log import observed

NETS = """from torch import nn

def build(classes):
    layers = nn.Conv2d(3, 4, 3), nn.{activation}(), nn.Flatten(), nn.Linear(4 * 30 * 30, classes)
    return nn.Sequential(*layers)
"""


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    values["model"] = {"python": "nets.py", "function": "build"}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


@pytest.mark.usefixtures("_folder")
def test_an_operator_that_is_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nets.py").write_text(NETS.format(activation="SiLU"), encoding="utf-8")
    with pytest.raises(SystemExit) as ended, observed("download"):
        pytest.fail("images would be read")
    assert ended.value.code == 1
    line = (
        "download: nets.py: 1 (silu): is not read; use ReLU or ReLU6; docs/networks.md lists what"
    )
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.usefixtures("_folder")
def test_weights_for_another_number_of_classes_are_left_to_training() -> None:
    text = NETS.format(activation="ReLU").replace(
        "    return",
        "    nn.Linear(7, classes).load_state_dict(nn.Linear(7, 10).state_dict())\n    return",
    )
    Path("nets.py").write_text(text, encoding="utf-8")
    with observed("download"):
        pass
    model = Model(python="nets.py", function="build")
    with pytest.raises(ValueError, match=r"^nets.py: fails with classes = 2, .*--classes N"):
        read(model, (3, 32, 32), None)
    read(model, (3, 32, 32), 10)


@pytest.mark.usefixtures("_folder")
def test_a_network_that_nothing_can_train(capsys: pytest.CaptureFixture[str]) -> None:
    text = NETS.format(activation="ReLU").replace(
        "nn.Sequential(*layers)", "nn.Sequential(*layers).requires_grad_(False)"
    )
    Path("nets.py").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit), observed("download"):
        pytest.fail("images would be read")
    line = "download: train.epochs = 4: nets.py has no parameter that requires a gradient; set it"
    assert capsys.readouterr().err.startswith(line)
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["train"]["epochs"] = 0
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with observed("download"):
        pass


@pytest.mark.usefixtures("_folder")
def test_whatever_number_of_classes_there_will_be() -> None:
    Path("nets.py").write_text(NETS.format(activation="ReLU"), encoding="utf-8")
    with observed("download"):
        pass


@pytest.mark.usefixtures("_folder")
def test_other_stages_do_not_read_it() -> None:
    with observed("compare"):
        pass
