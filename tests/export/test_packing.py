"""Packed weights, code by code, against their definition, and what the manifest says of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_cases import dataset, small_network
from hypothesis import given
from networks import networks, random_network

from powtwo.export import packing
from powtwo.export.bundle import bundle_files
from powtwo.export.steps import Step, steps_of
from powtwo.integer.layer import Layer, WeightFormat
from powtwo.integer.network import IntegerNetwork


def value(code: int, layout: packing.Packing) -> int:
    """Read one code by docs/c.md."""
    sign, low = code >> (layout.code_bits - 1), code & (2 ** (layout.code_bits - 1) - 1)
    if layout.code == "sign_exponent_nonzero":
        return 0 if code == 7 else (-1) ** sign * 2**low
    if layout.is_powers:
        return 0 if low == 0 else (-1) ** sign * 2 ** (low - 1)
    return low - sign * 2 ** (layout.code_bits - 1)


def unpacked(step: Step, layout: packing.Packing) -> list[list[int]]:
    """Read all codes of each row, the filling of its last word included."""
    shifts = range(0, packing.WORD_BITS, layout.code_bits)
    mask = 2**layout.code_bits - 1
    words = packing.words(step, layout).tolist()
    return [[value(word >> n & mask, layout) for word in row for n in shifts] for row in words]


@given(network=networks)
def test_every_code_is_its_weight_and_zeros_fill_a_row(network: IntegerNetwork) -> None:
    for step in steps_of(network):
        layout = packing.packing(step)
        narrow = step.layer.has_weights and step.layer.weight_format.bits <= 4
        assert (layout is not None) is narrow
        if layout is None:
            continue
        weight = step.weight.reshape(len(step.weight), -1)
        rows = np.array(unpacked(step, layout))
        assert np.array_equal(rows[:, : weight.shape[1]], weight)
        assert not rows[:, weight.shape[1] :].any()
        codes = range(2**layout.code_bits)
        decoded = layout.values.tolist()
        assert decoded == [value(code, layout) for code in codes]
        assert 0 <= rows.shape[1] - weight.shape[1] < packing.WORD_BITS // layout.code_bits


@pytest.mark.parametrize(
    ("bits", "kind", "weights", "word"),
    [
        (4, "power_of_two", [0, 1, 2, -64, -1], 0x0009F210),
        (3, "power_of_two", [0, 1, -4, 4], 0x00003B10),
        (2, "power_of_two", [1, -1, 0, 1], 0b01001101),
        (4, "power_of_two_nonzero", [1, 2, -128, 64, -1], 0x77786F10),
        (3, "power_of_two_nonzero", [1, 8, -8, -1], 0x77778B30),
        (4, "uniform", [7, -7, 0, -1, 1], 0x0001F097),
        (2, "uniform", [1, -1, 0, 1], 0b01001101),
    ],
)
def test_a_word_by_hand(bits: int, kind: str, weights: list[int], word: int) -> None:
    network = random_network(1)
    layer = Layer(
        "linear",
        torch.tensor([weights], dtype=torch.int8),
        torch.zeros(1, dtype=torch.int32),
        weight_format=WeightFormat(bits, kind),
        input=network.layers[0].input,
    )
    step = Step(0, layer, (len(weights),), (1,), network.rounding)
    layout = packing.packing(step)
    assert layout is not None
    assert packing.words(step, layout).tolist() == [[word]]


@pytest.mark.parametrize("packed", [True, False])
def test_the_manifest_states_layout_and_size(packed: bool) -> None:
    network = small_network(weight_bits=4, kind="power_of_two")
    first = replace(network.layers[0], weight_format=WeightFormat(8))
    network = replace(network, layers=(first, *network.layers[1:]))
    files = bundle_files(network, dataset(network), 1, ("c99", "memory"), packed=packed)
    manifest = json.loads(files["manifest.json"])
    conv, linear, last = 6 * 9, 12 * 192, 5 * 2  # words: 72, 1536 and 12 codes a row
    assert manifest["packing"]["packed_bytes"] == 8 * 27 + 4 * (conv + linear + last)
    assert manifest["packing"]["int8_bytes"] == 8 * 27 + 6 * 72 + 12 * 1536 + 5 * 12
    assert "the first code in the lowest bits" in manifest["packing"]["layout"]
    assert "packing" not in manifest["layers"][0]
    assert manifest["layers"][2]["packing"] == {
        "bytes": 4 * conv, "code": "sign_exponent", "code_bits": 4, "row_words": 9,
    }  # fmt: skip
    assert (manifest["c99"]["packed"], manifest["memory"]["packed"]) == (packed, packed)
    weight = manifest["layers"][2]["memory"]["weight"]
    assert weight["words"] == (conv if packed else 6 * 72)
    assert weight["file"] == f"memory/layer02.weight{'.packed' * packed}.hex"
    lines = files[weight["file"]].decode().splitlines()
    assert {len(line) for line in lines} == {8 if packed else 2}
    others = 4 * (8 + 6 + 12 + 5) + 3 + 16 * packed  # biases, shifts, what each code is
    weights = manifest["packing"]["packed_bytes" if packed else "int8_bytes"]
    assert manifest["c99"]["constants_bytes"] == weights + others
