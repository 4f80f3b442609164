"""Memory images word by word, and a Verilog testbench that computes layers from them alone."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from export_cases import needs, odd_network, pixels_for
from hypothesis import given, settings
from networks import ROUNDINGS, narrowed, networks, random_network

from powtwo.export import golden, manifest
from powtwo.export.bundle import write_bundle
from powtwo.export.rtl import memory_images
from powtwo.export.steps import steps_of
from powtwo.integer import tiles
from powtwo.integer.network import IntegerNetwork
from powtwo.tools.exports.programs import TESTBENCH, ToolError, simulate


def images_of(network: IntegerNetwork, count: int = 3) -> dict[str, memory_images.Image]:
    vectors = golden.vectors(network, pixels_for(network, count))
    images = memory_images.images(network, steps_of(network), vectors)
    return {image.file: image for image in images}


def signed(word: str) -> int:
    """Read two's complement by its definition: the top bit counts negative."""
    value, bits = int(word, 16), 4 * len(word)
    return value - (value >> (bits - 1) << bits)


@settings(max_examples=25, deadline=None)
@given(network=networks)
def test_every_word_is_the_element_in_c_order(network: IntegerNetwork) -> None:
    for image in images_of(network).values():
        lines = image.text.splitlines()
        assert image.text.endswith("\n")
        width = 2 * image.values.itemsize
        assert all(re.fullmatch(f"[0-9a-f]{{{width}}}", line) for line in lines)
        read = signed if image.values.dtype.kind == "i" else lambda word: int(word, 16)
        assert [read(line) for line in lines] == image.values.flatten().tolist()


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_only_half_up_is_folded_into_the_bias(rounding: str) -> None:
    network = random_network(2, rounding, per_channel=True)
    images = images_of(network)
    for index, layer in enumerate(network.layers):
        if layer.has_weights:
            bias = images[f"memory/layer{index:02}.bias.hex"]
            folds = rounding == "half_up" and layer.output is not None
            half = [2 ** (int(n) - 1) for n in layer.shift] if folds else 0
            assert np.array_equal(bias.values, layer.bias.numpy() + np.array(half))
            assert ("2^(shift - 1) is in it" in bias.note) is folds


def test_a_table_turns_golden_pixels_into_golden_codes() -> None:
    images = {file: image.values for file, image in images_of(odd_network()).items()}
    pixels, table = images["memory/golden/pixels.hex"], images["memory/input.table.hex"]
    assert table.shape == (3, 256)
    for channel in range(3):
        codes = table[channel][pixels[:, channel]]
        assert np.array_equal(codes, images["memory/golden/input.hex"][:, channel])


def exported(folder: Path, network: IntegerNetwork, packed: bool = False) -> dict[str, Any]:
    """Write memory images and manifest of a network that need not take 32×32 images."""
    images = SimpleNamespace(x_test=pixels_for(network, 3))
    write_bundle(folder, network, images, 3, ["memory"], packed=packed)
    return manifest.load(folder)


@needs("iverilog", "vvp")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("relu", [True, False])
def test_verilog_gives_every_golden_word(rounding: str, relu: bool, tmp_path: Path) -> None:
    for network in (
        random_network(4, rounding, per_channel=True, relu=relu, bits=7),
        random_network(4, rounding, per_channel=False, relu=relu, bits=7),
        odd_network(rounding, relu),  # strides, padding, narrow codes
    ):
        described = exported(tmp_path, network)
        for layer in described["layers"]:
            if "weight_shape" in layer:
                words = 3 * int(np.prod(layer["output_shape"]))
                assert simulate(tmp_path, described, layer["index"], 3) == f"{words} words equal"


@needs("iverilog", "vvp")
@pytest.mark.parametrize("rounding", ["floor", "half_even"])
def test_the_simulation_sees_every_mutation(rounding: str, tmp_path: Path) -> None:
    described = exported(tmp_path, random_network(3, rounding))
    for change in (
        {"shift": described["layers"][0]["shift"] + 1},
        {"input_zero_point": 127},
        {"output_zero_point": 127},
        {"relu": False},
    ):
        mutated = copy.deepcopy(described)
        mutated["layers"][0] |= change
        assert simulate(tmp_path, mutated, 0).endswith(" differ"), change
    swapped = described | {"rounding": "half_even" if rounding == "floor" else "floor"}
    assert simulate(tmp_path, swapped, 0).endswith(" differ")


@needs("iverilog", "vvp")
def test_the_simulation_sees_padding_of_0_and_a_bias_that_was_not_folded(tmp_path: Path) -> None:
    network = random_network(3, "half_up")
    described = exported(tmp_path / "export", network)
    assert simulate(tmp_path / "export", described, 0).endswith(" equal")
    mutated = shutil.copytree(TESTBENCH, tmp_path / "testbench") / "layer_tb.v"
    text, padded = mutated.read_text("utf-8"), "centered = INPUT_ZERO_POINT;"
    assert padded in text
    mutated.write_text(text.replace(padded, "centered = 0;"), "utf-8")
    printed = simulate(tmp_path / "export", described, 0, testbench=tmp_path / "testbench")
    assert printed.endswith(" differ")
    stored = images_of(replace(network, rounding="floor"))["memory/layer00.bias.hex"]
    (tmp_path / "export" / stored.file).write_text(stored.text, "ascii")
    assert simulate(tmp_path / "export", described, 0).endswith(" differ")


@needs("iverilog", "vvp")
def test_a_short_image_is_an_error(tmp_path: Path) -> None:
    described = exported(tmp_path, random_network(3))
    path = tmp_path / "memory/layer00.weight.hex"
    path.write_text(path.read_text("ascii")[:-3], "ascii")
    with pytest.raises(ToolError, match="Not enough words"):
        simulate(tmp_path, described, 0)


def exported_packed(folder: Path, bits: int, kind: str, **options: object) -> dict[str, Any]:
    network = random_network(6, "half_up", weight_bits=bits, kind=kind, **options)
    return exported(folder, network, packed=True)


@needs("iverilog", "vvp")
@pytest.mark.parametrize("kind", ["uniform", "power_of_two", "power_of_two_nonzero"])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("zero_point", [None, 0])
def test_verilog_gives_every_golden_word_of_packed_weights(
    kind: str, bits: int, zero_point: int | None, tmp_path: Path
) -> None:
    described = exported_packed(tmp_path, bits, kind, per_channel=True, zero_point=zero_point)
    for layer in described["layers"]:
        if "weight_shape" in layer:
            assert layer["memory"]["weight"]["file"].endswith(".packed.hex")
            words = 3 * int(np.prod(layer["output_shape"]))
            assert simulate(tmp_path, described, layer["index"], 3) == f"{words} words equal"


@needs("iverilog", "vvp")
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bits", [None, 12, 14])
def test_accumulators_and_tiles_of_few_bits_give_every_golden_word(
    bits: int | None, packed: bool, tmp_path: Path
) -> None:
    network = narrowed(random_network(4, "half_up", weight_bits=3, zero_point=0), bits)
    described = exported(tmp_path, network, packed=packed)
    for layer in described["layers"]:
        if "weight_shape" not in layer:
            continue
        own = network.layers[layer["index"]]
        assert layer["accumulator_bits"] == own.accumulator_bits < 32
        ends = own.tile_ends
        assert layer.get("spills") == (None if ends is None else tiles.spills(ends.numpy()))
        words = 3 * int(np.prod(layer["output_shape"]))
        assert simulate(tmp_path, described, layer["index"], 3) == f"{words} words equal"
        fewer = copy.deepcopy(described)  # 6 bits do not hold the sums, but for a last few inputs
        fewer["layers"][layer["index"]]["accumulator_bits"] = 6
        differs = simulate(tmp_path, fewer, layer["index"], 3).endswith(" differ")
        assert differs or layer["index"] == 5
    row = "| 4 | {} | {} |".format(layer4 := described["layers"][4]["accumulator_bits"],
                                   described["layers"][4].get("spills", "none"))  # fmt: skip
    assert layer4 < 32
    assert row in (tmp_path / "README.md").read_text("utf-8")


@needs("iverilog", "vvp")
def test_without_its_tiles_a_sum_of_few_bits_is_another(tmp_path: Path) -> None:
    described = exported(tmp_path, narrowed(random_network(4, weight_bits=3, zero_point=0), 12))
    assert simulate(tmp_path, described, 4, 3).endswith(" equal")
    del described["layers"][4]["memory"]["tile_ends"]
    assert simulate(tmp_path, described, 4, 3).endswith(" differ")


@needs("verilator", "g++", "make")
@pytest.mark.parametrize(("kind", "bits", "index"), [("power_of_two", 4, 0), ("uniform", 2, 2)])
def test_verilator_gives_every_golden_word(
    kind: str, bits: int, index: int, tmp_path: Path
) -> None:
    described = exported_packed(tmp_path, bits, kind, zero_point=0)
    words = 3 * int(np.prod(described["layers"][index]["output_shape"]))
    printed = simulate(tmp_path, described, index, 3, simulator="Verilator")
    assert printed == f"{words} words equal"


@needs("verilator")
@pytest.mark.parametrize("module", ["shift_dot", "packed_dot"])
@pytest.mark.parametrize("bits", [2, 4])
def test_the_datapath_of_packed_words_passes_lint(module: str, bits: int) -> None:
    command = ["verilator", "--lint-only", "-Wall", f"-GCODE_BITS={bits}"]
    done = subprocess.run([*command, TESTBENCH / f"{module}.v"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_shift_datapath_has_no_multiplier() -> None:
    text = re.sub("//.*", "", (TESTBENCH / "shift_dot.v").read_text("utf-8"))
    products = {product.strip() for product in re.findall(r"[\w.]+\s*\*(?!\*)\s*[\w.]+", text)}
    assert products == {"9*LANES", "lane * CODE_BITS", "9 * lane"}  # where bits lie


@needs("iverilog", "vvp")
@pytest.mark.parametrize(
    ("module", "kind", "old", "new"),
    [
        ("shift_dot", "power_of_two", "exponent - 1'b1", "exponent"),
        ("shift_dot", "power_of_two", "exponent == 0 ? 0 : x", "x"),
        ("shift_dot", "power_of_two", "? sum - shifted", "? sum + shifted"),
        ("packed_dot", "uniform", "reg signed [CODE_BITS-1:0]", "reg [CODE_BITS-1:0]"),
        ("shift_dot", "power_of_two_nonzero", "&exponent && !word", "&exponent && word"),
        ("shift_dot", "power_of_two_nonzero", "x <<< exponent;", "x <<< 1;"),
        ("layer_tb", "power_of_two", "POWERS) shift_dot", "!POWERS) shift_dot"),
        ("layer_tb", "uniform", "o * ROW + (k - 1)", "(o * FAN_IN + k - 1)"),
    ],
)
def test_the_simulation_sees_every_mutation_of_packed_words(
    module: str, kind: str, old: str, new: str, tmp_path: Path
) -> None:
    described = exported_packed(tmp_path / "export", 4, kind)
    assert simulate(tmp_path / "export", described, 0).endswith(" equal")
    mutated = shutil.copytree(TESTBENCH, tmp_path / "testbench") / f"{module}.v"
    text = mutated.read_text("utf-8")
    assert text.count(old) == 1
    mutated.write_text(text.replace(old, new), "utf-8")
    printed = simulate(tmp_path / "export", described, 0, testbench=tmp_path / "testbench")
    assert printed.endswith(" differ")
