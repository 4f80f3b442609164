"""The table of layers: the lab's network as torchsummary 1.5.1 printed it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from clone import PARAMS
from closure import ROOT

from powtwo.network.architecture import Architecture
from powtwo.tools import layers

LAB = Architecture((32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M"), (256, 128), 10)
RECORDED = ROOT / "tests/data/torchsummary.txt"  # of the same network


def test_the_labs_network_is_as_torchsummary_prints_it() -> None:
    modules = list(layers.of_model(LAB))
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    rows = [line.rsplit(maxsplit=1) for line in lines if "[-1" in line]
    assert len(rows) == len(modules) == 34
    for index, (module, (head, parameters)) in enumerate(zip(modules, rows, strict=True), start=1):
        name, shape = head.split(maxsplit=1)
        assert name == f"{module.kind}-{index}"
        assert shape == str([-1, *module.output_shape])
        assert parameters == f"{module.parameters:,}"
    totals = layers.totals(modules)
    recorded = dict(line.split(": ") for line in lines if ": " in line)
    assert {key: totals[key] for key in recorded} == recorded


def test_macs_and_accumulators_of_the_labs_network() -> None:
    modules = list(layers.of_model(LAB))
    assert sum(module.macs for module in modules) == 53_085_440
    last = modules[-1]
    assert (last.macs, last.weight_bytes, last.outputs) == (1280, 1280, 10)
    # 128 products of at most 127 * 128 sum up to 2,080,768, below 2^21; one bit is the sign.
    assert last.accumulator_bits == 22
    assert modules[1].fan_in == 0  # a batch norm is folded


def test_what_no_stage_would_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PARAMS.read_text(encoding="utf-8").replace("model:", "model:\n  pyton: nets.py", 1)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["layers"])
    with pytest.raises(SystemExit):
        layers.main()
    line = "layers: params.yaml: model.pyton = 'nets.py': unknown key; did you mean 'python'?\n"
    assert capsys.readouterr() == ("", line)


def test_any_layout_is_listed() -> None:
    text = layers.plain_text(list(layers.of_model(Architecture((8, "M"), (), 3))))
    assert re.search(r"1 +Conv2d +8 × 32 × 32 +224 ", text)
    assert "Total MACs: 227,328" in text  # 8·27·32·32 + 3·8·16·16


def test_layers_are_those_for_the_images_of_params_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = PARAMS.read_text(encoding="utf-8")
    text = text.replace("  size: 32 ", "  size: [28, 36] ").replace(
        "  channels: 3 ", "  channels: 1 "
    )
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["layers"])
    layers.main()
    text = capsys.readouterr().out
    assert re.search(r"1 +Conv2d +32 × 28 × 36 +320 ", text)
    assert re.search(r"Flatten +512 ", text)  # 256·1·2
    assert "Input size (MB): 0.00" in text  # 4·28·36 B


def test_a_network_of_ones_own_has_the_outputs_that_it_has_and_tells_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    values["model"] = {"python": "nets.py", "function": "build"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    code = """from torch import nn

def build():
    head = nn.Linear(3072, 3)
    head.bias.requires_grad_(False)
    return nn.Sequential(nn.Flatten(), nn.Sequential(head), nn.Softmax(1))
"""
    (tmp_path / "nets.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["layers"])
    layers.main()
    text = capsys.readouterr().out
    assert re.search(r"2 +Linear +3 +9,219 .* 1\.0\n", text), "its place in the module"
    assert "Trainable params: 9,216\nNon-trainable params: 3\n" in text
    assert "nets.py: 2 (softmax) is left out: logits are trained and quantized\n" in text
    assert "nets.py: 1 weights and biases keep their values in training, as requires" in text
    monkeypatch.setattr("sys.argv", ["layers", "--classes", "4"])
    with pytest.raises(SystemExit, match="^1$"):
        layers.main()
    assert "nets.py: gives 3 outputs, and the images have 4 classes" in capsys.readouterr().err
