"""Accumulators of few bits: sums that wrap nowhere, tiles, and what a file may say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import edited, replaced
from hypothesis import given
from hypothesis import strategies as st
from networks import narrowed, networks, random_network, random_pixels
from refused_network import refused
from safetensors.numpy import load

from powtwo.integer import shapes, tiles
from powtwo.integer.layer import accumulate
from powtwo.integer.network import IntegerNetwork


def wrapped(values: np.ndarray, bits: int) -> np.ndarray:
    """Return what accumulators of `bits` hold of sums: two's complement, the rest lost."""
    return (values + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def tiled_sum(weight: np.ndarray, x: np.ndarray, ends: np.ndarray, bits: int) -> np.ndarray:
    """Add the products (N, K) · (O, K) tap by tap in wrapping accumulators, spilled at ends."""
    sums = np.zeros((len(x), len(weight)), np.int64)
    for channel, row in enumerate(weight):
        partial = np.zeros(len(x), np.int64)
        for tap, w in enumerate(row):
            partial = wrapped(partial + x[:, tap] * w, bits)
            if tap + 1 in ends[channel]:
                sums[:, channel] += partial
                partial[:] = 0
        assert not partial.any()
    return sums


def worst_inputs(weight: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return the inputs that pull all products of a channel up, or down, or only its positive."""
    up = np.where(weight > 0, high, low)
    down = np.where(weight > 0, low, high)
    return np.concatenate([up, down, np.where(weight > 0, high, 0), np.where(weight < 0, high, 0)])


@given(st.data())
def test_tiles_add_up_to_the_plain_sum_in_accumulators_that_wrap(data: st.DataObject) -> None:
    bits, largest = data.draw(st.integers(8, 20)), data.draw(st.integers(1, 127))
    z = data.draw(st.sampled_from([0, 8, 128]))
    high = data.draw(st.integers(1, 255 - z))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    weight = rng.integers(-largest, largest + 1, (3, data.draw(st.integers(1, 40))))
    weight[rng.random(weight.shape) < 0.3] = 0
    ends = tiles.plan(weight, -z, high, bits)
    if ends is None:
        assert np.abs(weight).max() * max(z, high) >= 2 ** (bits - 1)
        return
    assert tiles.fault(ends, weight.shape[1]) is None
    assert tiles.largest_sum(weight, -z, high, ends) < 2 ** (bits - 1)
    x = np.concatenate([worst_inputs(weight, -z, high), rng.integers(-z, high + 1, (4, 1))
                        * np.ones_like(weight[:1])])  # fmt: skip
    assert np.array_equal(tiled_sum(weight, x, ends, bits), x @ weight.T)


@given(st.integers(0, 2**16), st.sampled_from([(-128, 127), (0, 255), (0, 15)]))
def test_no_plan_has_fewer_tiles_and_one_fewer_bit_would_wrap(
    seed: int, codes: tuple[int, int]
) -> None:
    """Each tile but the last of a row is full: the tap after it would not have fitted."""
    weight = np.random.default_rng(seed).integers(-64, 65, (4, 60))
    ends = tiles.plan(weight, *codes, 15)
    assert ends is not None
    most, least = tiles.product_sums(weight, *codes)
    for channel, row in enumerate(ends):
        for start, end in zip([0, *row], row, strict=False):
            if end < weight.shape[1]:
                taps = slice(start, end + 1)
                assert max(most[channel, taps].sum(), least[channel, taps].sum()) >= 2**14
    assert tiles.spills(ends) == sum(len(set(row)) for row in ends.tolist())


def test_zeros_fill_no_tile_and_a_row_of_them_is_one() -> None:
    weight = np.array([[100, 0, 0, -100, 0, 100], [0] * 6, [0, 1, 1, 1, 1, 127]])
    ends = tiles.plan(weight, 0, 255, 16)
    assert ends is not None
    assert ends.tolist() == [[5, 6], [6, 6], [5, 6]]  # 2 · 100 · 255 = 51,000 is no int16
    assert tiles.spills(ends) == 5
    assert tiles.plan(weight, 0, 255, 15) is None  # 127 · 255 = 32,385 is no 15 bits


@given(networks, st.sampled_from([None, 12, 16]))
def test_a_file_keeps_widths_and_tiles(
    tmp_path_factory: pytest.TempPathFactory, network: IntegerNetwork, bits: int | None
) -> None:
    path = tmp_path_factory.mktemp("saved") / "a"
    narrow = narrowed(network, bits)
    narrow.save(path)
    loaded = IntegerNetwork.load(path)
    for one, other in zip(narrow.layers, loaded.layers, strict=True):
        assert one.accumulator_bits == other.accumulator_bits
        assert (one.tile_ends is None) == (other.tile_ends is None)
        assert one.tile_ends is None or torch.equal(one.tile_ends, other.tile_ends)
    pixels = random_pixels(3)
    assert torch.equal(loaded.logits(pixels), network.logits(pixels))
    for shape in shapes.read(path):
        layer = narrow.layers[shape.index]
        ends = layer.tile_ends
        assert shape.accumulator_bits == layer.accumulator_bits
        assert shape.spills == (0 if ends is None else tiles.spills(ends.numpy()))


@given(networks)
def test_one_bit_less_than_a_sum_needs_is_refused(network: IntegerNetwork) -> None:
    narrow = narrowed(network)
    for index, layer in enumerate(narrow.layers):
        if layer.has_weights and 8 < layer.accumulator_bits < 32:
            fewer = replace(layer, accumulator_bits=layer.accumulator_bits - 1)
            layers = (*narrow.layers[:index], fewer, *narrow.layers[index + 1 :])
            with pytest.raises(ValueError, match=f"layer {index}: accumulators can reach"):
                replace(narrow, layers=layers)


def test_the_narrow_bound_is_reached() -> None:
    layer = replace(random_network(5, zero_point=0).layers[4], output=None)
    weight, bias = layer.weight.to(torch.int64), layer.bias.to(torch.int64)
    up, down = (((sign * weight) > 0) * 255 for sign in (1, -1))
    sums = [accumulate(layer, x.to(torch.uint8)).diagonal() for x in (up, down)]
    reached = torch.maximum(sums[0] + (-bias).clamp(min=0), -sums[1] + bias.clamp(min=0))
    assert torch.equal(reached, layer.narrow_bound)


Edit = Callable[[dict], None]


def layer_keys(**changes: object) -> Edit:
    return lambda values: values["layers"][4].update(changes)


def without(key: str) -> Edit:
    return lambda values: values["layers"][4].pop(key)


EDITS = {
    "width alone": (layer_keys(accumulator_bits=12), "layer 4: accumulators of a tile = "),
    "no width": (without("accumulator_bits"), "layer 4: accumulator_bits = None: must be there"),
    "no spills": (without("spills"), "tensor layers.4.tile_ends: of no layer"),
    "a spill more": (layer_keys(spills=10**6), "layer 4: spills = 1000000: must be "),
    "7 bits": (layer_keys(accumulator_bits=7), "layer 4: accumulator_bits = 7: must be greater"),
    "32 bits": (layer_keys(accumulator_bits=32), "layer 4: accumulator_bits = 32: must be less"),
    "text": (layer_keys(spills="3"), "layer 4: spills = '3': must be a valid integer"),
}


@pytest.fixture
def tiled(tmp_path: Path) -> Path:
    narrowed(random_network(1), 16).save(tmp_path / "tiled")
    return tmp_path / "tiled"


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_widths_is_refused(name: str, tiled: Path) -> None:
    edit, reason = EDITS[name]
    tiled.write_bytes(edited(tiled.read_bytes(), edit))
    refused(tiled, reason)


def test_a_plan_that_breaks_a_rule_is_refused(tiled: Path) -> None:
    whole, name = tiled.read_bytes(), "layers.4.tile_ends"
    ends = load(whole)[name]
    zero, back, late, long = ends.copy(), ends.copy(), ends.copy(), ends.copy()
    zero[0, 0], back[0, 1], late[0, 0] = 0, ends[0, 0] - 1, ends[0, 0] + 1
    long[:, -1] += 1
    for damaged, reason in (
        (zero, "must ascend from 1 on in every row, until it ends"),
        (back, "must ascend from 1 on in every row, until it ends"),
        (-ends, "must end in 96, the weights of an output, in every row"),
        (long, "must end in 96, the weights of an output, in every row"),
        (np.pad(ends, ((0, 0), (0, 1)), "edge"), "must have no more columns than the most tiles"),
        (ends[:, :0], "shape = (12, 0): must be (12, 1 to 96)"),
        (ends[1:], "shape = (11, "),
        (ends.astype(np.int64), "type = 'int64': must be int32"),
    ):
        tiled.write_bytes(replaced(whole, **{name: damaged}))
        refused(tiled, f"layer 4: tile_ends: {reason}")
    tiled.write_bytes(replaced(whole, **{name: late}))
    refused(tiled, "layer 4: accumulators of a tile = ")
    tiled.write_bytes(replaced(whole, **{name: None}))
    refused(tiled, f"tensor {name}: missing")


def test_a_width_below_the_sums_is_refused_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "narrow"
    network = narrowed(random_network(1, "half_up"))
    network.save(path)
    whole = path.read_bytes()
    for index, layer in enumerate(network.layers):
        if layer.has_weights:
            bits = layer.accumulator_bits - 1
            path.write_bytes(edited(whole, lambda v, i=index, b=bits:
                                    v["layers"][i].update(accumulator_bits=b)))  # fmt: skip
            worst = int(layer.narrow_bound.max())
            refused(path, f"layer {index}: accumulators = {worst}: must stay below 2^{bits - 1}")
