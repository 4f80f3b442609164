"""Memory traffic against figures worked by hand, and its properties."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import pytest
from energy_cases import HOROWITZ, LAYERS, NARROW, SHIFTS, some_layers
from hypothesis import given
from hypothesis import strategies as st

from powtwo.energy.counts import OpCounts, total_energy
from powtwo.energy.memory import bits_by_kind, memory_counts, too_large
from powtwo.integer.shapes import LayerShape
from powtwo.tools.docs.energy_page import NETWORKS

levels = st.sampled_from(list(HOROWITZ.memory_levels))


def moved(layers: list[LayerShape], arithmetic: str) -> list[OpCounts]:
    return memory_counts(layers, arithmetic, "dram", "sram_1mb")


@pytest.mark.parametrize(
    ("arithmetic", "terms", "pj"),
    [
        ("integer", [(1280, 8), (10, 32), (128, 8), (10, 8)], "216225"),
        ("float", [(1280, 32), (10, 32), (128, 32), (10, 32)], "845400"),
    ],
)
def test_last_layer_term_by_term(arithmetic: str, terms: list[tuple[int, int]], pj: str) -> None:
    counts = moved(LAYERS[-1:], arithmetic)
    kinds = ["weights_read", "weights_read", "activations_read", "activations_written"]
    bits = ["dram_bit", "dram_bit", "sram_1mb_bit", "sram_1mb_bit"]
    assert [(t.kind, t.operation, t.times, t.each) for t in counts] == [
        (*names, *term) for *names, term in zip(kinds, bits, terms, strict=True)
    ]
    # integer: (10,240 + 320)·20.3125 + (1,024 + 80)·1.5625 = 214,500 + 1,725
    # float: 41,280·20.3125 + 4,416·1.5625 = 838,500 + 6,900
    assert total_energy(counts, HOROWITZ) == Fraction(pj)


def test_whole_network() -> None:
    """80,256 inputs; each is written by the layer before, but the image; then 10 outputs."""
    weights, biases = sum(x.weights for x in LAYERS), sum(x.biases for x in LAYERS)
    assert bits_by_kind(moved(LAYERS, "integer")) == {
        "weights_read": 8 * weights + 32 * biases,
        "activations_read": 8 * 80_256,
        "activations_written": 8 * (80_256 - 3 * 32 * 32 + 10),
    }
    for layers in (SHIFTS, NARROW):
        assert bits_by_kind(moved(layers, "integer"))["weights_read"] == 4 * weights + 32 * biases
    written = bits_by_kind(moved(SHIFTS, "integer"))["activations_written"]
    assert written == 8 * 77_184 + 32 * 10
    narrow = NETWORKS["4-bit weights and codes"]
    assert bits_by_kind(moved(narrow, "integer"))["activations_read"] == 4 * 80_256


def test_an_output_is_written_after_the_poolings() -> None:
    assert [(layer.outputs, layer.written) for layer in LAYERS[:3]] == [
        (32_768, 32_768), (32_768, 8_192), (16_384, 16_384)
    ]  # fmt: skip


def test_what_does_not_fit_is_listed() -> None:
    needed = bits_by_kind(moved(LAYERS, "integer"))["weights_read"] / 8192
    assert too_large(LAYERS, "integer", HOROWITZ, "sram_1mb", "sram_32kb") == [
        f"integer weights: {needed:,.0f} KiB in sram_1mb, which holds 1,024 KiB",
        # layer 1: 32 KiB in, and 8 out after its pooling
        "integer activations: 40 KiB in sram_32kb, which holds 32 KiB",
    ]
    for arithmetic in ("float", "integer"):
        assert too_large(LAYERS, arithmetic, HOROWITZ, "dram", "sram_1mb") == []


def test_what_shares_a_level_must_fit_there_together() -> None:
    """Of 4-bit weights, 717 KiB and 5 of biases, beside layer 1's 32 KiB in and 8 out."""

    def lines(more: int, activations_in: str) -> list[str]:
        layers = [replace(layer, fan_in=layer.fan_in + more) for layer in NARROW]
        return too_large(layers, "integer", HOROWITZ, "sram_1mb", activations_in)

    few = 422  # more weights in each of 1,354 channels: 279 KiB
    assert lines(0, "sram_1mb") == []
    assert lines(few, "sram_32kb") == [
        "integer activations: 40 KiB in sram_32kb, which holds 32 KiB"
    ]
    (line,) = lines(few, "sram_1mb")
    assert re.fullmatch(
        r"integer weights and activations: 1,04\d KiB in sram_1mb, which holds 1,024 KiB", line
    )


@given(some_layers, some_layers, levels, levels, st.sampled_from(["float", "integer"]))
def test_memory_adds_up_over_layers_and_is_linear_in_batch(
    first: list[LayerShape], second: list[LayerShape], one: str, other: str, arithmetic: str
) -> None:
    def energy(layers: list[LayerShape]) -> Fraction:
        return total_energy(memory_counts(layers, arithmetic, one, other), HOROWITZ)

    assert energy(first + second) == energy(first) + energy(second)
    assert energy(first * 5) == 5 * energy(first)  # five images, nothing reused


@given(some_layers, levels, st.integers(0, 1000))
def test_memory_is_monotone_in_every_level(layers: list[LayerShape], name: str, more: int) -> None:
    counts = moved(layers, "integer")
    before = HOROWITZ.memory_levels[name]
    dearer = before.model_copy(update={"price": before.price + more})
    prices = {**HOROWITZ.memory_levels, name: dearer}
    table = HOROWITZ.model_copy(update={"memory_levels": prices})
    grown = total_energy(counts, table) - total_energy(counts, HOROWITZ)
    bits = sum(item.count for item in counts if item.operation == f"{name}_bit")
    assert grown == Fraction(more, 64) * bits >= 0


def test_a_shift_of_each_channel_is_read_with_the_weights() -> None:
    layer = replace(LAYERS[-1], shifts=10)
    own = [t for t in moved([layer], "integer") if t not in moved(LAYERS[-1:], "integer")]
    more = Fraction(10 * 5) * HOROWITZ["dram_bit"]
    plain = total_energy(moved(LAYERS[-1:], "integer"), HOROWITZ)
    assert total_energy(moved([layer], "integer"), HOROWITZ) == plain + more
    assert [(t.kind, t.times, t.each) for t in own if t.each == 5] == [("weights_read", 10, 5)]
    floats = moved([layer], "float"), moved(LAYERS[-1:], "float")
    assert total_energy(floats[0], HOROWITZ) == total_energy(floats[1], HOROWITZ)
