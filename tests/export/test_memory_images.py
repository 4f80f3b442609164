"""Memory images word by word, and a Verilog testbench that computes layers from them alone."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_cases import BENCH, dataset, needs, odd_network, pixels_for, small_network
from hypothesis import given, settings
from networks import ROUNDINGS, networks, random_network

from powtwo.export import bundle, golden, manifest
from powtwo.export.errors import UnsupportedError
from powtwo.export.rtl import memory_images
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports import programs as tools


def made(network: IntegerNetwork, count: int = 3) -> list[memory_images.Image]:
    return memory_images.images(network, golden.vectors(network, pixels_for(network, count)))


def signed(word: str) -> int:
    """Read two's complement by its definition: the top bit counts negative."""
    value, bits = int(word, 16), 4 * len(word)
    return value - (value >> (bits - 1) << bits)


@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_every_word_is_the_element_in_c_order(network: IntegerNetwork) -> None:
    for image in made(network):
        lines = image.text.splitlines()
        assert image.text.endswith("\n")
        width = 2 * image.values.itemsize
        assert all(re.fullmatch(f"[0-9a-f]{{{width}}}", line) for line in lines)
        read = signed if image.values.dtype.kind == "i" else lambda word: int(word, 16)
        assert [read(line) for line in lines] == image.values.flatten().tolist()


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_only_half_up_is_folded_into_the_bias(rounding: str) -> None:
    network = random_network(2, rounding, per_channel=True)
    images = {image.file: image for image in made(network)}
    for index, layer in enumerate(network.layers):
        if layer.has_weights:
            found = images[f"memory/layer{index:02}.bias.hex"]
            folds = rounding == "half_up" and layer.output is not None
            half = [2 ** (int(n) - 1) for n in layer.shift] if folds else 0
            assert np.array_equal(found.values, layer.bias.numpy() + np.array(half))
            assert ("2^(shift - 1) is in it" in found.note) is folds


def test_every_layer_has_its_files() -> None:
    names = [image.file for image in made(random_network(2))]
    assert names == [
        "memory/golden/input.hex",
        "memory/layer00.weight.hex", "memory/layer00.bias.hex", "memory/golden/layer00.output.hex",
        "memory/golden/layer01.output.hex",
        "memory/layer02.weight.hex", "memory/layer02.bias.hex", "memory/golden/layer02.output.hex",
        "memory/layer04.weight.hex", "memory/layer04.bias.hex", "memory/golden/layer04.output.hex",
        "memory/layer05.weight.hex", "memory/layer05.bias.hex", "memory/golden/layer05.output.hex",
    ]  # fmt: skip
    per_channel = [image.file for image in made(random_network(2, per_channel=True))]
    assert "memory/layer00.shift.hex" in per_channel
    table = {image.file: image for image in made(odd_network())}
    assert table["memory/input.table.hex"].values.shape == (3, 256)
    assert "memory/golden/pixels.hex" in table


def test_a_table_turns_golden_pixels_into_golden_codes() -> None:
    images = {image.file: image.values for image in made(odd_network())}
    pixels, table = images["memory/golden/pixels.hex"], images["memory/input.table.hex"]
    for channel in range(3):
        codes = table[channel][pixels[:, channel]]
        assert np.array_equal(codes, images["memory/golden/input.hex"][:, channel])


def exported(folder: Path, network: IntegerNetwork) -> dict[str, Any]:
    """Write memory images and manifest of a network that need not take 32×32 images."""
    construction = bundle.Bundle(network, dataset(random_network(1)), 3)
    construction.vectors = golden.vectors(network, pixels_for(network, 3))
    construction.about = manifest.describe(network)
    bundle.FORMATS["memory"](construction)
    for name, data in construction.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return construction.about


def computing(network: IntegerNetwork) -> list[int]:
    return [index for index, layer in enumerate(network.layers) if layer.has_weights]


@needs("iverilog", "vvp")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_verilog_gives_every_golden_word(
    rounding: str, per_channel: bool, relu: bool, tmp_path: Path
) -> None:
    network = random_network(4, rounding, per_channel=per_channel, relu=relu, bits=7)
    about = exported(tmp_path, network)
    for index in computing(network):
        words = 3 * int(np.prod(about["layers"][index]["output_shape"]))
        assert tools.simulate(BENCH, tmp_path, about, index, 3) == f"{words} words equal"


@needs("iverilog", "vvp")
def test_verilog_takes_strides_padding_and_narrow_codes(tmp_path: Path) -> None:
    network = odd_network("floor", relu=False)
    about = exported(tmp_path, network)
    for index in computing(network):
        assert tools.simulate(BENCH, tmp_path, about, index).endswith(" equal")


@needs("iverilog", "vvp")
@pytest.mark.parametrize("rounding", ["floor", "half_even"])
def test_the_simulation_sees_every_mutation(rounding: str, tmp_path: Path) -> None:
    about = exported(tmp_path, random_network(3, rounding))
    layer = about["layers"][0]
    changes = {
        "a shift off by one": {"shift": layer["shift"] + 1},
        "input zero point 127": {"input_zero_point": 127},
        "output zero point 127": {"output_zero_point": 127},
        "ReLU lost": {"relu": False},
    }
    for name, change in changes.items():
        mutated = copy.deepcopy(about)
        mutated["layers"][0] |= change
        assert tools.simulate(BENCH, tmp_path, mutated, 0).endswith(" differ"), name
    swapped = about | {"rounding": "half_even" if rounding == "floor" else "floor"}
    assert tools.simulate(BENCH, tmp_path, swapped, 0).endswith(" differ")


@needs("iverilog", "vvp")
def test_the_simulation_sees_padding_of_0_and_a_bias_that_was_not_folded(tmp_path: Path) -> None:
    network = random_network(3, "half_up")
    about = exported(tmp_path, network)
    bench = tmp_path / "layer_tb.v"
    text = BENCH[0].read_text("utf-8")
    assert "centered = INPUT_ZERO_POINT;" in text
    bench.write_text(text.replace("centered = INPUT_ZERO_POINT;", "centered = 0;"), "utf-8")
    assert tools.simulate([bench, BENCH[1]], tmp_path, about, 0).endswith(" differ")
    assert tools.simulate(BENCH, tmp_path, about, 0).endswith(" equal")
    stored = next(i for i in made(replace(network, rounding="floor")) if i.role == "bias")
    (tmp_path / stored.file).write_text(stored.text, "ascii")
    assert tools.simulate(BENCH, tmp_path, about, 0).endswith(" differ")


@needs("iverilog", "vvp")
def test_a_short_image_is_an_error(tmp_path: Path) -> None:
    about = exported(tmp_path, random_network(3))
    path = tmp_path / "memory/layer00.weight.hex"
    path.write_text(path.read_text("ascii")[:-3], "ascii")
    with pytest.raises(tools.ToolError, match="Not enough words"):
        tools.simulate(BENCH, tmp_path, about, 0)


def test_a_missing_simulator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(tools.MissingToolError, match="iverilog is not installed"):
        tools.simulate(BENCH, tmp_path, {}, 0)


def test_reading_gives_the_array_back_or_says_what_is_wrong() -> None:
    for image in made(small_network("half_up", per_channel=True), 2)[:3]:
        again = memory_images.read(image.text, image)
        assert np.array_equal(again, image.values)
        assert again.dtype == image.values.dtype
        with pytest.raises(ValueError, match=f"{image.file}: must be {image.values.size} lines"):
            memory_images.read(image.text[:-3], image)


def test_sums_into_the_next_layer_are_refused() -> None:
    network = random_network(1)
    layers = list(network.layers)
    vectors = golden.vectors(network, pixels_for(network, 2))
    layers[4] = replace(layers[4], output=None)
    with pytest.raises(UnsupportedError, match="memory images: layer 5 would take int32"):
        memory_images.images(replace(network, layers=tuple(layers)), vectors)
