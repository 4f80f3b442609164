"""Counts and their energy against figures worked by hand, term by term, in exact fractions."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import product as pairs

import pytest
import torch
from energy_cases import LAB, LAYERS, NARROW, NETWORKS, QTOOLS, SHIFTS, some_layers
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from powtwo.energy.adder_tree import product_bits, tree_sums
from powtwo.energy.counts import (
    CONVENTIONS,
    OpCounts,
    accumulator_sums,
    energy_by_kind,
    float_counts,
    integer_counts,
    product,
    total_energy,
)
from powtwo.energy.operation_prices import ListedPrice, PriceTable, UnpricedError
from powtwo.integer.layer import WeightFormat
from powtwo.integer.shapes import LayerShape
from powtwo.network.architecture import Architecture
from powtwo.tools.docs.energy_page import CLASSES, HIDDEN, LAYOUT, lab_layers

LAST = LAYERS[-1]  # linear 128 → 10
conventions = st.sampled_from(CONVENTIONS)


def priced(counts: list[OpCounts]) -> list[tuple[str, str, int, Fraction]]:
    return [(t.kind, t.operation, t.count, t.count * LAB[t.operation]) for t in counts]


def integer_energy(
    layers: list[LayerShape], convention: str = "per_use", table: PriceTable = LAB
) -> Fraction:
    return total_energy(integer_counts(layers, convention), table)


SUMS = [
    ("multiply", "int8_multiply", 1280, 256),
    ("accumulate", "int32_add", 1270, 127),
    ("bias", "int32_add", 10, 1),
]
SHIFT_SUMS = [("multiply", "int4x8_shift", 1280, Fraction("12.8")), *SUMS[1:]]
REQUANTIZE = ("requantize", "shift", 10, Fraction("0.1"))
ADD = ("requantize", "int8_add", 10, Fraction("0.3"))
PER_USE = ("zero_point", "int8_add", 1280, Fraction("38.4"))
PER_INPUT = ("zero_point", "int8_add", 128, Fraction("3.84"))
NO_OFFSET = replace(LAST, input_zero_point=0, output_zero_point=0)
INT32_OUT = lab_layers(logits="int32")[-1]


@pytest.mark.parametrize(
    ("layer", "convention", "terms", "pj"),
    [
        (LAST, "per_use", [*SUMS, PER_USE, REQUANTIZE, ADD], "422.8"),
        (LAST, "per_input", [*SUMS, PER_INPUT, REQUANTIZE, ADD], "388.24"),
        (LAST, "folded", [*SUMS, REQUANTIZE, ADD], "384.4"),
        (LAST, "msb_flip", [*SUMS, REQUANTIZE], "384.1"),
        (INT32_OUT, "per_use", [*SUMS, PER_USE], "422.4"),
        (SHIFTS[-1], "per_use", SHIFT_SUMS, "140.8"),  # FP32: 5888, 41.8 times as much
        *((NO_OFFSET, name, [*SUMS, REQUANTIZE], "384.1") for name in CONVENTIONS),
    ],
)
def test_last_layer_in_integers_term_by_term(
    layer: LayerShape, convention: str, terms: list[object], pj: str
) -> None:
    counts = integer_counts([layer], convention)
    assert priced(counts) == terms
    assert total_energy(counts, LAB) == Fraction(pj)


def test_last_layer_in_float_term_by_term() -> None:
    counts = float_counts([LAST])
    assert priced(counts) == [
        ("multiply", "fp32_multiply", 1280, 4736),
        ("accumulate", "fp32_add", 1270, 1143),
        ("bias", "fp32_add", 10, 9),
    ]
    assert total_energy(counts, LAB) == 5888


def test_last_layer_of_4_bit_weights_term_by_term() -> None:
    counts = integer_counts(NARROW[-1:], "per_use")
    assert [(t.kind, t.operation, t.count) for t in counts] == [
        ("multiply", "int4x8_multiply", 1280),
        *(term[:3] for term in (*SUMS[1:], PER_USE, REQUANTIZE, ADD)),
    ]
    # 1280·P + 127 + 1 + 32 + 0.1 + 0.25
    hand = 1280 * QTOOLS["int4x8_multiply"] + Fraction("160.35")
    assert total_energy(counts, QTOOLS) == hand


TERNARY = NETWORKS["−1, 0, 1, 4-bit codes, z = 0, 12-bit sums"][-1]
TILED = replace(SHIFTS[3], accumulator_bits=16, spills=200)  # 64 channels, 16 × 16, K = 576


def test_narrow_accumulators_add_products_and_bias_in_their_width() -> None:
    counts = integer_counts([TERNARY], "per_use")
    assert [(t.kind, t.operation, t.count) for t in counts] == [
        ("multiply", "int2x4_mux", 1280),
        ("accumulate", "int12_add", 1270),
        ("bias", "int12_add", 10),
    ]
    # 1280 · (0.6 · 4 + 12) of an adder's bit
    assert total_energy(counts, QTOOLS) == 1280 * Fraction("14.4") * Fraction("0.003125")


def test_tiles_add_every_product_in_their_width_and_every_spill_in_int32() -> None:
    counts = integer_counts([TILED], "per_use")
    assert [(t.kind, t.operation, t.count) for t in counts] == [
        ("multiply", "int4x8_shift", TILED.macs),
        ("accumulate", "int16_add", TILED.macs),
        ("spill", "int32_add", 200 * 16 * 16),
        ("requantize", "shift", TILED.outputs),
    ]
    pj = TILED.macs * Fraction("0.06") + 51_200 * Fraction("0.1") + TILED.outputs * Fraction("0.01")
    assert total_energy(counts, LAB) == pj


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"weight_bits": 2}, "int2x8_mux"),
        ({"weight_bits": 2, "input_bits": 2}, "int2_mux"),
        ({"weight_bits": 2, "weight_kind": "power_of_two", "weight_code_bits": 2}, "int2x8_mux"),
        ({"weight_bits": 8, "weight_kind": "power_of_two", "weight_code_bits": 4}, "int4x8_shift"),
        ({"weight_bits": 3}, "int3x8_multiply"),
        ({"weight_bits": 1}, "int1x8_xor"),
        ({"weight_bits": 4, "input_bits": 1}, "int4x1_and"),
    ],
)
def test_products_are_named_by_the_hardware_that_they_need(
    change: dict[str, object], name: str
) -> None:
    assert product(replace(LAST, **change)) == name


@given(some_layers)
def test_a_tree_adds_as_often_as_an_accumulator(layers: list[LayerShape]) -> None:
    for layer in layers:
        tree, chain = Counter(), Counter()
        for counter, counts in ((tree, tree_sums(layer)), (chain, accumulator_sums(layer))):
            for item in counts:
                counter[item.kind] += item.count
        assert +tree == +chain


def test_a_tree_grows_by_a_bit_a_level_up_to_the_accumulator() -> None:
    assert product_bits(LAST) == 15  # 127 · 128 = 16,256
    levels = [(t.operation, t.each) for t in tree_sums(LAST) if t.kind == "accumulate"]
    assert levels == [(f"int{15 + level}_add", 128 >> level) for level in range(1, 8)]
    five = replace(LAST, fan_in=5, accumulator_bits=16)  # pairs of 5, of 3, of 2
    levels = [(t.operation, t.each) for t in tree_sums(five) if t.kind == "accumulate"]
    assert levels == [("int16_add", 2), ("int16_add", 1), ("int16_add", 1)]
    assert [t.operation for t in tree_sums(replace(TILED, fan_in=1))][1:] == ["int32_add"]


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        *pairs(["uniform", "power_of_two"], [2, 3, 4]),
        ("power_of_two_nonzero", 3),
        ("power_of_two_nonzero", 4),
    ],
)
@pytest.mark.parametrize(("code_bits", "zero"), [(8, 0), (8, 128), (4, 0), (4, 8), (4, 15)])
def test_product_bits_hold_every_product_and_no_fewer_would(
    kind: str, bits: int, code_bits: int, zero: int
) -> None:
    weights = WeightFormat(bits, kind)
    layer = replace(LAST, weight_bits=weights.width, weight_kind=kind, weight_code_bits=bits,
                    input_bits=code_bits, input_zero_point=zero)  # fmt: skip
    codes = torch.arange(2**code_bits, dtype=torch.float64) - zero
    largest = int(torch.outer(weights.grid.codes, codes).abs().max())
    assert 2 ** (product_bits(layer) - 2) <= largest < 2 ** (product_bits(layer) - 1)


def test_whole_network() -> None:
    assert sum(layer.macs for layer in LAYERS) == 53_085_440
    assert sum(layer.inputs for layer in LAYERS) == 80_256  # what is stored, without padding
    assert total_energy(float_counts(LAYERS), LAB) == 244_193_024
    assert {name: integer_energy(LAYERS, name) for name in CONVENTIONS} == {
        "per_use": Fraction("17523126.16"),
        "per_input": Fraction("15932970.64"),
        "folded": Fraction("15930562.96"),
        "msb_flip": Fraction("15926864.74"),
    }
    kinds = energy_by_kind(integer_counts(LAYERS, "per_use"), LAB)
    assert sum(kinds.values()) == Fraction("17523126.16")
    assert kinds["zero_point"] == Fraction("1592563.2")
    assert kinds["requantize"] == Fraction("4930.96")


def test_a_network_of_shifts_costs_41_times_less_than_fp32() -> None:
    total = integer_energy(SHIFTS)
    # 53,085,440 shifts and int32 additions, 123,264 requantizing shifts: z is 0 everywhere
    assert total == 53_085_440 * Fraction("0.11") + 123_264 * Fraction("0.01")
    assert total == Fraction("5840631.04")
    assert math.floor(244_193_024 / total) == 41


def test_shapes_macs_weights_and_biases_equal_torch() -> None:
    network = Architecture(LAYOUT, HIDDEN, CLASSES).build()
    counter, sizes = FlopCounterMode(display=False), {}
    for name, module in network.named_children():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: sizes.update(
                {name: (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))}
            )
        )
    with counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 32, 32))
    flops = counter.get_flop_counts()
    weighted = [(name, module) for name, module in network.named_children()
                if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))]  # fmt: skip
    for layer, (name, module) in zip(LAYERS, weighted, strict=True):
        assert sum(flops[f"Sequential.{name}"].values()) == 2 * layer.macs
        assert sizes[name] == (layer.input_shape, layer.output_shape)
        assert (module.weight.numel(), module.weight.shape[0]) == (layer.weights, layer.biases)


@pytest.mark.parametrize("widths", [(4, 8), (8, 4), (4, 4)])
def test_other_widths_are_not_taken_for_int8(widths: tuple[int, int]) -> None:
    layer = replace(LAST, weight_bits=widths[0], input_bits=widths[1])
    name = {(4, 4): "int4"}.get(widths, f"int{widths[0]}x{widths[1]}")
    with pytest.raises(UnpricedError, match=f"no price for {name}_multiply"):
        integer_energy([layer])


def test_unknown_convention_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"energy\.zero_point = none: must be one of"):
        integer_counts(LAYERS, "none")


prices = st.fixed_dictionaries(
    {name: st.fractions(0, 10, max_denominator=100) for name in LAB.prices}
)


def with_prices(values: dict[str, Fraction]) -> PriceTable:
    listed = {name: ListedPrice(price=price, source="course") for name, price in values.items()}
    return LAB.model_copy(update={"prices": listed})


@given(some_layers, some_layers, conventions, st.integers(1, 9))
def test_energy_adds_up_over_layers_and_is_linear_in_batch(
    first: list[LayerShape], second: list[LayerShape], convention: str, images: int
) -> None:
    energies = [integer_energy(layers, convention) for layers in (first, second)]
    assert integer_energy(first + second, convention) == sum(energies)
    assert integer_energy(first * images, convention, QTOOLS) == images * integer_energy(
        first, convention, QTOOLS
    )


@given(some_layers, conventions, prices, prices)
def test_energy_is_linear_and_monotone_in_prices(
    layers: list[LayerShape],
    convention: str,
    one: dict[str, Fraction],
    other: dict[str, Fraction],
) -> None:
    def at(values: dict[str, Fraction]) -> Fraction:
        counts = float_counts(layers) + integer_counts(layers, convention)
        return total_energy(counts, with_prices(values))

    both = at({name: one[name] + 3 * other[name] for name in one})
    assert both == at(one) + 3 * at(other)
    assert both >= at(one)


@given(some_layers, prices)
def test_conventions_are_ordered(layers: list[LayerShape], values: dict[str, Fraction]) -> None:
    table = with_prices(values)
    pj = {name: integer_energy(layers, name, table) for name in CONVENTIONS}
    assert pj["per_use"] >= pj["folded"] >= pj["msb_flip"]
    assert pj["per_input"] >= pj["folded"]


@given(
    st.sampled_from(["add", "multiply", "shift"]), st.integers(0, 1),
    st.fractions(0, 1, max_denominator=100), conventions,
)  # fmt: skip
def test_energy_is_monotone_in_every_coefficient(
    name: str, power: int, more: Fraction, convention: str
) -> None:
    formula = QTOOLS.formulas[name]
    factors = list(formula.coefficients)
    factors[power] += more
    dearer = formula.model_copy(update={"coefficients": tuple(factors)})
    table = QTOOLS.model_copy(update={"formulas": {**QTOOLS.formulas, name: dearer}})
    for layers in (NARROW, SHIFTS):
        counts = integer_counts(layers, convention)
        used = any(item.operation.endswith(f"_{name}") for item in counts)
        grown = total_energy(counts, table) - total_energy(counts, QTOOLS)
        assert (grown > 0) == (used and more > 0)
        assert grown >= 0


def test_an_addition_and_an_average_cost_their_additions() -> None:
    """32 outputs each: by hand, in the lab's prices."""
    added = LayerShape(
        0, "add", (2, 4, 4), (2, 4, 4), fan_in=2, weight_bits=0, input_bits=8,
        input_zero_point=128, output_bits=8, output_zero_point=128, aligned=True,
    )  # fmt: skip
    assert (added.macs, added.weights, added.biases, added.inputs) == (0, 0, 0, 64)
    assert total_energy(float_counts([added]), LAB) == 32 * Fraction("0.9")
    costs = {  # an addition, an alignment, a shift, and the zero points
        "per_use": Fraction("0.1") + 2 * Fraction("0.01") + 3 * Fraction("0.03"),
        "per_input": Fraction("0.1") + 2 * Fraction("0.01") + 3 * Fraction("0.03"),
        "folded": 2 * Fraction("0.1") + 2 * Fraction("0.01") + Fraction("0.03"),
        "msb_flip": Fraction("0.1") + 2 * Fraction("0.01"),
    }
    for convention, pj in costs.items():
        assert total_energy(integer_counts([added], convention), LAB) == 32 * pj
    average = replace(added, kind="avgpool2d", input_shape=(2, 8, 8), fan_in=4, aligned=False)
    assert average.inputs == 128
    assert total_energy(float_counts([average]), LAB) == 32 * 3 * Fraction("0.9")
    pj = 3 * Fraction("0.1") + Fraction("0.01") + 5 * Fraction("0.03")
    assert total_energy(integer_counts([average], "per_use"), LAB) == 32 * pj
