"""The stage train on a network of the user's: as it is with no epochs, or trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_runs import edit, outputs, run, workplace

from powtwo.core import files
from powtwo.network import source
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folding import fold
from powtwo.network.params import Model

pytestmark = pytest.mark.slow

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = (x + self.second(x)).relu()
        return self.last(x.mean((2, 3))).softmax(1)

def build():
    net = Net()
    net.load_state_dict(torch.load("weights.pt"))
    return net
"""


def place(folder: Path, monkeypatch: pytest.MonkeyPatch, **train: Any) -> tuple[Path, nn.Module]:
    """Make a workplace with a network and its weights; return the network as well."""
    workplace(folder, **train)
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(NETS, names)
    torch.manual_seed(5)
    net = names["Net"]().eval()
    torch.save(net.state_dict(), folder / "weights.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), folder / "net.onnx", dynamo=False)
    monkeypatch.chdir(folder)
    return folder, net


def name(folder: Path, **model: str) -> None:
    """Name a network in params.yaml, as the stage `source` sees it."""
    edit(folder, "model", model)
    source.write(Model(**model))


@pytest.mark.parametrize("model", [{"python": "nets.py", "function": "build"},
                                   {"onnx": "net.onnx"}])  # fmt: skip
def test_without_epochs_it_is_written_as_it_is(
    model: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, net = place(tmp_path / "w", monkeypatch, epochs=0)
    name(folder, **model)
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert "is left out: logits are trained and quantized" in done.stderr
    assert "warning" not in done.stderr
    network = Checkpoint.load(folder / "models/float.safetensors").network()
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(x).softmax(1), net(x), rtol=1e-5, atol=1e-6)
    metrics = files.read_json(folder / "metrics/train.json")
    assert (metrics["epochs_run"], metrics["best_epoch"]) == (0, 0)
    assert 0 < metrics["test_accuracy"] <= 1
    curves = (folder / "plots/training.csv").read_text(encoding="utf-8").splitlines()
    assert len(curves) == 1
    assert curves[0].startswith("epoch,learning_rate,")
    assert len(fold(network)) == 6
    first = outputs(folder)
    run(folder)
    assert outputs(folder) == first


def test_with_epochs_it_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, net = place(tmp_path / "w", monkeypatch, epochs=1, learning_rate=1e-5)
    edit(folder, "train.final_learning_rate", 1e-7)
    name(folder, python="nets.py", function="build")
    assert run(folder).returncode == 0
    trained = Checkpoint.load(folder / "models/float.safetensors").weights["0.weight"]
    given = net.get_parameter("first.weight")
    assert not torch.equal(trained, given)
    torch.testing.assert_close(trained, given, rtol=0, atol=1e-3)


def test_what_has_changed_since_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, net = place(tmp_path / "w", monkeypatch, epochs=0)
    name(folder, python="nets.py", function="build")
    torch.save({key: value + 1 for key, value in net.state_dict().items()}, folder / "weights.pt")
    done = run(folder)
    assert done.returncode == 1
    expected = "train: models/source.json: weights.pt has changed since; run `inv repro`\n"
    assert done.stderr == expected
    source.SOURCE.unlink()
    assert "has no digests; run `inv repro`" in run(folder).stderr


def test_another_network_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = place(tmp_path / "w", monkeypatch)
    (folder / "nets.py").write_text(NETS.replace(".softmax(1)", ".sigmoid()"), encoding="utf-8")
    name(folder, python="nets.py", function="build")
    done = run(folder)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("train: nets.py: sigmoid (sigmoid): is not read; use ReLU")
    assert not (folder / "models/float.safetensors").exists()


def test_named_network_without_epochs_has_fresh_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = place(tmp_path / "w", monkeypatch, epochs=0)
    edit(folder, "model", {"name": "resnet8"})
    assert run(folder).returncode == 0
    weights = Checkpoint.load(folder / "models/float.safetensors").weights
    assert len(weights) > 20
