"""The integer network's file against docs/integer-file.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from networks import networks, random_network, random_pixels
from safetensors import safe_open
from safetensors.numpy import save_file

from powtwo.integer.network import IntegerNetwork


@settings(max_examples=30, deadline=None)
@given(network=networks)
def test_a_saved_network_is_the_same_network(
    tmp_path_factory: pytest.TempPathFactory, network: IntegerNetwork
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    network.save(folder / "a")
    loaded = IntegerNetwork.load(folder / "a")
    loaded.save(folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    pixels = random_pixels(5)
    assert torch.equal(loaded.logits(pixels), network.logits(pixels))
    assert (loaded.classes, loaded.scheme) == (network.classes, network.scheme)


def stored(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["powtwo"]), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118


def test_the_file_says_what_the_contract_says(tmp_path: Path) -> None:
    random_network(1, per_channel=True).save(tmp_path / "n.safetensors")
    about, tensors = stored(tmp_path / "n.safetensors")
    layers = about["layers"]
    assert set(about) == {"format", "scheme", "rounding", "classes", "input", "layers", "sha256"}
    assert about["format"] == 1
    assert about["input"] == {
        "shape": [3, 8, 8], "exponent": -7, "zero_point": 128, "bits": 8, "normalize": "dyadic",
    }  # fmt: skip
    assert [layer["kind"] for layer in layers] == [
        "conv2d", "maxpool2d", "conv2d", "flatten", "linear", "linear",
    ]  # fmt: skip
    assert set(layers[0]) == {
        "kind", "relu", "stride", "padding", "kernel", "weight_bits", "weight_exponent",
        "input_exponent", "input_zero_point", "input_bits", "output_exponent",
        "output_zero_point", "output_bits", "shift", "output",
    }  # fmt: skip
    assert layers[1] == {"kind": "maxpool2d", "kernel": 2, "stride": 2}
    assert layers[-1]["output"] == "int32"
    assert len(layers[0]["weight_exponent"]) == 8
    types = {name: tensor.dtype.name for name, tensor in tensors.items()}
    first = [types[f"layers.0.{name}"] for name in ("weight", "bias", "shift")]
    assert first == ["int8", "int32", "int32"]
    assert "layers.5.shift" not in types


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    random_network(1).save(path)
    about, tensors = stored(path)
    about["layers"][0]["shift"] += 1
    save_file(tensors, path, metadata={"powtwo": json.dumps(about)})
    with pytest.raises(ValueError, match="layer 0: shift = .*: its exponents give"):
        IntegerNetwork.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="its metadata are no JSON object"):
        IntegerNetwork.load(path)
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match="not an integer network: .*; convert it again"):
        IntegerNetwork.load(path)
