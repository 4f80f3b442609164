"""Tables for all widths and for memory: against hand-worked figures and published polynomials."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import metrics_tree
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report_page import Page, render_text, run_compare, values_at
from test_energy import integer_file, layers_strategy, run_stage

from powtwo.core import files
from powtwo.energy import counts as energy
from powtwo.energy import formulas, memory, memory_table, price_table
from powtwo.energy import metrics as energy_metrics
from powtwo.energy import sensitivity as energy_sensitivity
from powtwo.energy.params import Energy
from powtwo.energy.price_table import UnpricedError
from powtwo.integer import fixedpoint, shapes
from powtwo.network.architecture import Architecture
from powtwo.report import results
from powtwo.report.columns import ENERGY_SENSITIVITY, MISSING
from powtwo.tools.docs import energy_page, energy_passages

LAB, QTOOLS = price_table.load("lab"), price_table.load("qtools")
HOROWITZ = memory_table.load("horowitz")
LAYERS = energy_page.lab_layers()
NARROW = energy_passages.NETWORKS["4-bit weights, 8-bit codes"]
SHIFT = energy_passages.NETWORKS["the same, z = 0, int32 logits"]
FLIPPED = shapes.of_layout(  # `lab` prices all of it under msb_flip; the others need int4_add
    energy_page.LAYOUT, energy_page.HIDDEN, energy_page.CLASSES,
    bits=4, weights=energy_passages.SHIFT,
)  # fmt: skip
CONFIGURED = Energy(table="lab", zero_point="per_use", all_widths="qtools", memory="horowitz")
PRICES = energy_metrics.load(CONFIGURED)
widths = st.integers(2, 8)

# google/qkeras, qkeras/qtools/config_public.py, "horowitz": highest power first, as np.poly1d.
FPM_ADD = np.poly1d([0.003125, 0])
FPM_MUL = np.poly1d([0.002994791667, 0.001041666667, 0])


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-11)


@pytest.mark.parametrize("weight", range(2, 9))
@pytest.mark.parametrize("code", range(2, 9))
def test_qtools_prices_are_the_published_polynomials(weight: int, code: int) -> None:
    names = f"int{weight}x{code}", f"int{weight}" if weight == code else f"int{weight}x{code}"
    size = math.sqrt(2**weight * code)  # Shifter of multiplier_impl.py
    for name in names:
        assert float(QTOOLS[f"{name}_multiply"]) == close(FPM_MUL(math.sqrt(weight * code)))
        assert float(QTOOLS[f"{name}_shift"]) == close(FPM_ADD(size * math.log10(size)))
    assert float(QTOOLS[f"int{weight}_add"]) == close(FPM_ADD(weight))


def test_qtools_prices_worked_by_hand() -> None:
    assert QTOOLS["int4_add"] == Fraction("0.0125")
    assert QTOOLS["int8_add"] == Fraction("0.025")
    assert QTOOLS["int32_add"] == Fraction("0.1")
    assert QTOOLS["int8_multiply"] == Fraction("0.200000000024")  # 64·…667 + 8·…667
    assert QTOOLS["int4_multiply"] == Fraction("0.05208333334")
    assert QTOOLS["int2x8_multiply"] == QTOOLS["int4_multiply"]  # √16 = 4
    root = Fraction("5.656854249492")  # √32, to twelve decimals
    hand = root**2 * Fraction("0.002994791667") + root * Fraction("0.001041666667")
    assert QTOOLS["int4x8_multiply"] == hand
    # s = √128 = 11.3137…, s·log10 s = 11.92018; times 0.003125
    assert f"{float(QTOOLS['int4x8_shift']):.6f}" == "0.037251"


def test_qtools_passes_through_horowitz() -> None:
    for operation, pj in {"int8_multiply": 0.2, "int32_multiply": 3.1, "int32_add": 0.1}.items():
        assert float(QTOOLS[operation]) == pytest.approx(pj, rel=1e-9)
    assert {name: QTOOLS[name] for name in ("fp32_multiply", "fp32_add")} == {
        name: LAB[name] for name in ("fp32_multiply", "fp32_add")
    }


@pytest.mark.parametrize(
    "operation",
    ["int1_add", "int64_multiply", "int1x8_multiply", "int8_divide", "fp16_add", "cast"],
)
def test_what_the_source_does_not_cover_is_refused(operation: str) -> None:
    with pytest.raises(UnpricedError, match=f"= qtools: has no price for {operation}") as caught:
        QTOOLS[operation]
    assert caught.value.operation == operation
    assert "any multiply of 2 to 32 bits" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (QTOOLS, "energy.table = qtools"),
        (price_table.load("qtools", key="energy.all_widths"), "energy.all_widths = qtools"),
        (HOROWITZ.prices, "energy.memory = horowitz"),
    ],
)
def test_a_missing_price_names_the_parameter_that_named_the_table(
    table: price_table.PriceTable, named: str
) -> None:
    with pytest.raises(UnpricedError, match=f"^{named}: has no price for int1_add"):
        table["int1_add"]


def test_the_lab_shifts_by_a_weight_at_the_price_of_a_shift_and_multiplies_int8_alone() -> None:
    assert LAB["int4x8_shift"] == LAB["int4_shift"] == LAB["shift"] == Fraction("0.01")
    for name in ("int4x8_multiply", "int4_multiply", "int8x4_multiply", "int4_add"):
        with pytest.raises(UnpricedError):
            LAB[name]


@given(st.sampled_from(["multiply", "shift"]), widths, widths)
def test_more_bits_never_cost_less(name: str, weight: int, code: int) -> None:
    price = QTOOLS[f"int{weight}x{code}_{name}"]
    assert QTOOLS[f"int{weight + 1}x{code}_{name}"] > price > 0
    assert QTOOLS[f"int{weight}x{code + 1}_{name}"] > price


def test_last_layer_of_4_bit_weights_term_by_term() -> None:
    (counts,) = energy.integer_counts(NARROW[-1:], "per_use")
    assert [(t.kind, t.operation, t.count) for t in counts.terms] == [
        ("multiply", "int4x8_multiply", 1280),
        ("accumulate", "int32_add", 1270),
        ("bias", "int32_add", 10),
        ("zero_point", "int8_add", 1280),
        ("requantize", "shift", 10),
        ("requantize", "int8_add", 10),
    ]
    # 1280·P + 127 + 1 + 32 + 0.1 + 0.25
    assert counts.energy(QTOOLS) == 1280 * QTOOLS["int4x8_multiply"] + Fraction("160.35")


def test_last_layer_of_shifts_term_by_term() -> None:
    (counts,) = energy.integer_counts(SHIFT[-1:], "per_use")
    assert [(t.kind, t.operation, t.count, t.count * LAB[t.operation]) for t in counts.terms] == [
        ("multiply", "int4x8_shift", 1280, Fraction("12.8")),
        ("accumulate", "int32_add", 1270, 127),
        ("bias", "int32_add", 10, 1),
    ]
    assert counts.energy(LAB) == Fraction("140.8")  # FP32: 5888, 41.8 times as much


def test_a_network_of_shifts_costs_41_times_less_than_fp32() -> None:
    total = energy.total(energy.integer_counts(SHIFT, "per_use"), LAB)
    # 53,085,440 shifts and int32 additions, 123,264 requantizing shifts: z is 0 everywhere
    assert total == 53_085_440 * Fraction("0.11") + 123_264 * Fraction("0.01")
    assert total == Fraction("5840631.04")
    assert math.floor(244_193_024 / total) == 41


def test_kinds_add_up_to_the_total() -> None:
    counts = energy.integer_counts(LAYERS, "per_use")
    kinds = energy.by_kind(counts, LAB)
    assert sum(kinds.values()) == energy.total(counts, LAB)
    assert kinds["zero_point"] == Fraction("1592563.2")
    assert kinds["requantize"] == Fraction("4930.96")


def moved(layers: list[shapes.LayerShape], arithmetic: str) -> list[energy.OpCounts]:
    return memory.counts(layers, arithmetic, "dram", "sram_1mb")


def test_memory_prices_are_a_64th_of_an_access() -> None:
    prices = {name: place.bit.pj for name, place in HOROWITZ.places.items()}
    accesses = {"sram_8kb": 10, "sram_32kb": 20, "sram_1mb": 100, "dram": 1300, "dram_high": 2600}
    assert prices == {name: Fraction(pj, 64) for name, pj in accesses.items()}
    assert prices["dram"] == Fraction("20.3125")  # dram_rd of QTools, pJ a bit
    assert {place.bit.source for place in HOROWITZ.places.values()} == {"horowitz-2014"}


@pytest.mark.parametrize(
    ("arithmetic", "terms", "pj"),
    [
        ("integer", [(1280, 8), (10, 32), (128, 8), (10, 8)], "216225"),
        ("float", [(1280, 32), (10, 32), (128, 32), (10, 32)], "845400"),
    ],
)
def test_memory_of_the_last_layer_term_by_term(
    arithmetic: str, terms: list[tuple[int, int]], pj: str
) -> None:
    (counts,) = moved(LAYERS[-1:], arithmetic)
    kinds = ["weights_read", "weights_read", "activations_read", "activations_written"]
    places = ["dram_bit", "dram_bit", "sram_1mb_bit", "sram_1mb_bit"]
    assert [(t.kind, t.operation, t.times, t.each) for t in counts.terms] == [
        (*names, *term) for *names, term in zip(kinds, places, terms, strict=True)
    ]
    # integer: (10,240 + 320)·20.3125 + (1,024 + 80)·1.5625 = 214,500 + 1,725
    # float: 41,280·20.3125 + 4,416·1.5625 = 838,500 + 6,900
    assert counts.energy(HOROWITZ.prices) == Fraction(pj)


def test_memory_of_the_whole_network() -> None:
    """80,256 inputs; each is written by the layer before, but the image; then 10 outputs."""
    assert memory.bits(moved(LAYERS, "integer")) == {
        "weights_read": 8 * sum(x.weights for x in LAYERS) + 32 * sum(x.biases for x in LAYERS),
        "activations_read": 8 * 80_256,
        "activations_written": 8 * (80_256 - 3 * 32 * 32 + 10),
    }
    assert memory.bits(moved(SHIFT, "integer"))["weights_read"] == (
        4 * sum(x.weights for x in LAYERS) + 32 * sum(x.biases for x in LAYERS)
    )
    assert memory.bits(moved(SHIFT, "integer"))["activations_written"] == 8 * 77_184 + 32 * 10
    weights = 4 * sum(x.weights for x in LAYERS) + 32 * sum(x.biases for x in LAYERS)
    assert memory.bits(moved(NARROW, "integer"))["weights_read"] == weights
    narrow = energy_passages.NETWORKS["4-bit weights and codes"]
    assert memory.bits(moved(narrow, "integer"))["activations_read"] == 4 * 80_256


def test_docs_say_what_the_shifts_by_channel_would_cost() -> None:
    channels = sum(layer.biases for layer in SHIFT if layer.output_bits is not None)
    each = fixedpoint.MAX_SHIFT.bit_length()
    cost = float(channels * each * HOROWITZ.prices["dram_bit"] / 10**6)
    page = " ".join(energy_page.PAGE.read_text(encoding="utf-8").split())
    assert f"n is 0 to {fixedpoint.MAX_SHIFT} " in page
    assert f"{channels:,} × {each} = {channels * each:,} bits, or {cost} µJ from `dram`" in page


def test_weights_and_biases_are_those_of_torch() -> None:
    network = Architecture(energy_page.LAYOUT, energy_page.HIDDEN, energy_page.CLASSES).build()
    modules = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert [x.weights for x in LAYERS] == [module.weight.numel() for module in modules]
    assert [x.biases for x in LAYERS] == [module.weight.shape[0] for module in modules]


def test_an_output_is_written_after_the_poolings() -> None:
    assert [(layer.outputs, layer.written) for layer in LAYERS[:3]] == [
        (32_768, 32_768), (32_768, 8_192), (16_384, 16_384)
    ]  # fmt: skip


def test_what_does_not_fit_is_listed() -> None:
    counts = memory.counts(LAYERS, "integer", "sram_1mb", "sram_32kb")
    found = memory.too_large(counts, HOROWITZ)
    needed = memory.bits(counts)["weights_read"] / 8192
    assert found == [
        f"integer weights: {needed:,.0f} KiB in sram_1mb, which holds 1,024 KiB",
        # layer 1: 32 KiB in, and 8 out after its pooling
        "integer activations: 40 KiB in sram_32kb, which holds 32 KiB",
    ]
    for arithmetic in ("float", "integer"):
        assert memory.too_large(moved(LAYERS, arithmetic), HOROWITZ) == []


def test_what_shares_a_place_must_fit_there_together() -> None:
    """Of 4-bit weights, 717 KiB and 5 of biases, beside layer 1's 32 KiB in and 8 out."""

    def found(biases: int, activations_in: str) -> list[str]:
        layers = [replace(layer, biases=layer.biases + biases) for layer in NARROW]
        return memory.too_large(
            memory.counts(layers, "integer", "sram_1mb", activations_in), HOROWITZ
        )

    assert found(0, "sram_1mb") == []
    few = 6_500  # more in each of eleven layers: 279 KiB
    assert found(few, "sram_32kb") == [
        "integer activations: 40 KiB in sram_32kb, which holds 32 KiB"
    ]
    (said,) = found(few, "sram_1mb")
    assert re.fullmatch(
        r"integer weights and activations: 1,04\d KiB in sram_1mb, which holds 1,024 KiB", said
    )


places = st.sampled_from(list(HOROWITZ.places))
traffic_layers = st.lists(
    st.tuples(layers_strategy, st.integers(1, 10**6), st.integers(1, 512)), min_size=1, max_size=3
).map(lambda items: [replace(x, weights=w, biases=b) for xs, w, b in items for x in xs])


@given(traffic_layers, traffic_layers, places, places, st.sampled_from(["float", "integer"]))
def test_memory_adds_up_over_layers_and_is_linear_in_batch(
    first: list[shapes.LayerShape], second: list[shapes.LayerShape], one: str, other: str, kind: str
) -> None:
    def of(layers: list[shapes.LayerShape]) -> Fraction:
        return energy.total(memory.counts(layers, kind, one, other), HOROWITZ.prices)

    assert of(first + second) == of(first) + of(second)
    assert of(first * 5) == 5 * of(first)  # five images, nothing reused


@given(layers_strategy, st.sampled_from(energy.CONVENTIONS), st.integers(1, 9))
def test_arithmetic_is_linear_in_batch(
    layers: list[shapes.LayerShape], convention: str, images: int
) -> None:
    def of(found: list[shapes.LayerShape]) -> Fraction:
        return energy.total(energy.integer_counts(found, convention), QTOOLS)

    assert of(layers * images) == images * of(layers)


@given(traffic_layers, places, st.fractions(0, 10, max_denominator=100))
def test_memory_is_monotone_in_every_place(
    layers: list[shapes.LayerShape], place: str, more: Fraction
) -> None:
    counts = memory.counts(layers, "integer", "dram", "sram_1mb")
    before = HOROWITZ.places[place]
    dearer = replace(before, bit=replace(before.bit, pj=before.bit.pj + more))
    table = replace(HOROWITZ, places={**HOROWITZ.places, place: dearer})
    grown = energy.total(counts, table.prices) - energy.total(counts, HOROWITZ.prices)
    bits = sum(t.count for x in counts for t in x.terms if t.operation == f"{place}_bit")
    assert grown == more * bits >= 0


@given(
    st.sampled_from(["add", "multiply", "shift"]), st.integers(0, 1),
    st.fractions(0, 1, max_denominator=100), st.sampled_from(energy.CONVENTIONS),
)  # fmt: skip
def test_arithmetic_is_monotone_in_every_coefficient(
    family: str, power: int, more: Fraction, convention: str
) -> None:
    formula = QTOOLS.formulas[family]
    factors = list(formula.coefficients)
    factors[power] += more
    dearer = replace(formula, coefficients=tuple(factors))
    table = replace(QTOOLS, formulas={**QTOOLS.formulas, family: dearer})
    for layers in (NARROW, SHIFT):
        counts = energy.integer_counts(layers, convention)
        used = any(t.operation.endswith(f"_{family}") for x in counts for t in x.terms)
        grown = energy.total(counts, table) - energy.total(counts, QTOOLS)
        assert (grown > 0) == (used and more > 0)
        assert grown >= 0


def test_a_scheme_that_the_table_lacks_is_null_there_and_priced_beside_it() -> None:
    found = energy_metrics.metrics(NARROW, PRICES)
    assert [found[key] for key in ("integer_uj", "ratio", "last_integer_pj")] == [None] * 3
    assert (found["float_uj"], found["last_float_pj"]) == (244.193024, 5888)
    assert found["unpriced"] == "int4x8_multiply"
    assert found["conventions"]["folded"]["integer_uj"] is None
    wide = found["all_widths"]
    assert (wide["table"], wide["unpriced"]) == ("qtools", None)
    exact = energy.total(energy.integer_counts(NARROW, "per_use"), QTOOLS)
    assert wide["integer_uj"] == float(exact / 10**6)
    assert wide["ratio"] == float(244_193_024 / exact)
    assert {row["table"] for row in found["sensitivity"]} == {"qtools"}
    rows = [
        dict(zip(energy.COLUMNS, row, strict=True)) for row in energy_metrics.rows(NARROW, PRICES)
    ]
    assert {row["table"] for row in rows if row["part"] == "arithmetic"} == {"qtools"}


def test_8_bits_are_priced_in_both_and_the_lab_s_stand_at_the_top() -> None:
    found = energy_metrics.metrics(LAYERS, PRICES)
    plain = energy.metrics(LAYERS, LAB, "per_use")
    assert {key: found[key] for key in plain} == plain
    assert (found["integer_uj"], found["last_integer_pj"]) == (17.52312616, 422.8)
    assert found["unpriced"] is None
    assert found["all_widths"]["float_uj"] == found["float_uj"]
    assert sum(found["kinds_uj"]["integer"].values()) == pytest.approx(found["integer_uj"])


MSB_FLIP = CONFIGURED.model_copy(update={"zero_point": "msb_flip"})
FLIPPED_UJ = 5.84063114  # 53,085,440·0.11 + 123,274·0.01 pJ


def test_a_table_is_judged_by_the_configured_convention_alone() -> None:
    prices = energy_metrics.load(MSB_FLIP.model_copy(update={"all_widths": None}))
    found = energy_metrics.metrics(FLIPPED, prices)
    ratio = float(Fraction("244.193024") / Fraction("5.84063114"))
    figures = {"integer_uj": FLIPPED_UJ, "ratio": ratio, "last_integer_pj": 140.9}
    assert {key: found[key] for key in figures} == figures
    assert found["unpriced"] is None
    assert sum(found["kinds_uj"]["integer"].values()) == pytest.approx(FLIPPED_UJ)
    nothing = dict.fromkeys(figures)
    assert found["conventions"] == {
        "per_use": nothing, "per_input": nothing, "folded": nothing, "msb_flip": figures
    }  # fmt: skip
    rows = [
        dict(zip(energy.COLUMNS, row, strict=True)) for row in energy_metrics.rows(FLIPPED, prices)
    ]
    picojoules = sum(row["energy_pj"] for row in rows
                     if (row["arithmetic"], row["part"]) == ("integer", "arithmetic"))  # fmt: skip
    assert picojoules == pytest.approx(FLIPPED_UJ * 10**6)


def test_a_convention_without_a_price_has_a_row_of_sensitivity_with_nulls() -> None:
    rows = energy_metrics.metrics(FLIPPED, energy_metrics.load(MSB_FLIP))["sensitivity"]
    assert len(rows) == 2 * (4 + 5 + 5)
    unknown = {"arithmetic_integer_uj", "arithmetic_ratio", "sum_ratio", "ratio"}
    for row in rows:
        lacking = row["table"] == "lab" and row["zero_point"] != "msb_flip"
        assert {key for key in row if row[key] is None} == (unknown if lacking else set())
        assert row["arithmetic_float_uj"] == 244.193024
        assert lacking or row["table"] == "qtools" or row["arithmetic_integer_uj"] == FLIPPED_UJ


@pytest.mark.parametrize("convention", ["per_use", "per_input", "folded"])
def test_the_configured_convention_needs_its_prices(convention: str) -> None:
    change = {"zero_point": convention, "all_widths": None}
    prices = energy_metrics.load(CONFIGURED.model_copy(update=change))
    with pytest.raises(UnpricedError, match="energy.table = lab: has no price for int4_add"):
        energy_metrics.metrics(FLIPPED, prices)


def test_fp32_without_a_price_is_an_error_under_every_convention() -> None:
    table = replace(LAB, prices={k: v for k, v in LAB.prices.items() if k != "fp32_add"})
    with pytest.raises(UnpricedError, match="no price for fp32_add"):
        energy.metrics(FLIPPED, table, "msb_flip")


def test_the_report_and_the_docs_show_a_dash_for_a_convention_without_a_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = energy_metrics.load(MSB_FLIP)
    metrics_tree.write(tmp_path, ["lab"])
    files.write_json(tmp_path / "metrics/energy/lab.json", energy_metrics.metrics(FLIPPED, prices))
    rows = energy_metrics.rows(FLIPPED, prices)
    files.write_csv(tmp_path / "plots/energy/lab.csv", energy.COLUMNS, rows)
    found = results.read(tmp_path, ["lab"])
    assert (found.energy_table, found.best["energy_uj"]) == ("lab", 5.8406311)
    page = render_text(found)
    for name in energy.CONVENTIONS:
        (cell,) = re.findall(rf'<td[^>]*json: conventions.{name}.integer_uj">([^<]*)<', page)
        assert cell == ("5.8406311" if name == "msb_flip" else MISSING)
    columns = [dict(zip(ENERGY_SENSITIVITY, row, strict=True))
               for row in results.energy_sensitivity(found)]  # fmt: skip
    assert sum(row["arithmetic_ratio"] is None for row in columns) == 3
    monkeypatch.setattr(energy_passages, "NETWORKS", {"flipped": FLIPPED})
    text = energy_passages.sensitivity(prices)
    for name in energy.CONVENTIONS:
        ratio = "41.8" if name == "msb_flip" else "–"
        assert f"| arithmetic, `lab` | `zero_point` | `{name}` | {ratio} |" in text


@pytest.mark.parametrize("wider", [None, "lab"])
def test_without_a_table_for_all_widths_the_scheme_stops(wider: str | None) -> None:
    prices = energy_metrics.load(CONFIGURED.model_copy(update={"all_widths": wider}))
    with pytest.raises(UnpricedError, match="lab: has no price for int4x8_multiply"):
        energy_metrics.metrics(NARROW, prices)
    assert energy_metrics.metrics(LAYERS, prices)["all_widths"] is None


def test_memory_is_in_no_energy_called_arithmetic() -> None:
    with_memory = energy_metrics.metrics(LAYERS, PRICES)
    alone = energy_metrics.load(CONFIGURED.model_copy(update={"memory": None}))
    without = energy_metrics.metrics(LAYERS, alone)
    assert without.pop("memory") is None
    found = with_memory.pop("memory")
    for metrics in (with_memory, without):
        del metrics["sensitivity"]
    assert with_memory == without
    assert found["integer_uj"] == 241.315025
    assert found["ratio"] == found["float_uj"] / found["integer_uj"]
    for kind in ("float", "integer"):
        assert sum(found["kinds_uj"][kind].values()) == pytest.approx(found[f"{kind}_uj"])
        assert list(found["kinds_uj"][kind]) == list(memory.KINDS)
    assert {row[-2] for row in energy_metrics.rows(LAYERS, alone)} == {"arithmetic"}


def test_sensitivity_moves_one_assumption_at_a_time() -> None:
    rows = energy_metrics.metrics(LAYERS, PRICES)["sensitivity"]
    assert len(rows) == 2 * (4 + 5 + 5)
    base = {"zero_point": "per_use", "weights_in": "dram", "activations_in": "sram_1mb"}
    for row in rows:
        assert ("scheme", *row) == ENERGY_SENSITIVITY
        assert {name: row[name] for name in base} == base | {row["varied"]: row["value"]}
        table = {"lab": LAB, "qtools": QTOOLS}[row["table"]]
        exact = [energy.total(energy.float_counts(LAYERS), table),
                 energy.total(energy.integer_counts(LAYERS, row["zero_point"]), table)]  # fmt: skip
        bits = [memory.counts(LAYERS, kind, row["weights_in"], row["activations_in"])
                for kind in ("float", "integer")]  # fmt: skip
        pj = [energy.total(counts, HOROWITZ.prices) for counts in bits]
        assert row["arithmetic_ratio"] == float(exact[0] / exact[1])
        assert row["memory_ratio"] == float(pj[0] / pj[1])
        assert row["sum_ratio"] == float((exact[0] + pj[0]) / (exact[1] + pj[1]))
        alone = row["varied"] == "zero_point"  # which moves no bit in memory
        assert row["ratio"] == row["arithmetic_ratio" if alone else "sum_ratio"]
        assert row["ratio_of"] == "arithmetic" + " and memory together" * (not alone)
        assert row["memory_integer_uj"] == float(pj[1] / 10**6)


def test_sensitivity_without_memory_is_of_conventions_alone() -> None:
    rows = energy_sensitivity.rows(LAYERS, [LAB], None, energy_sensitivity.Assumptions("per_use"))
    assert [row["value"] for row in rows] == list(energy.CONVENTIONS)
    assert {row["sum_ratio"] for row in rows} == {row["memory_ratio"] for row in rows} == {None}


def test_schemes_are_compared_in_one_table() -> None:
    wide, narrow = (energy_metrics.metrics(x, PRICES) for x in (LAYERS, NARROW))
    assert results.common_table([wide]) == results.common_table([wide, wide]) == "lab"
    assert wide["integer_uj"] == 17.52312616
    places = [results.energy_key(one, name) for one in (wide, narrow) for name in ("lab", "qtools")]
    assert places == ["", "all_widths", "all_widths", "all_widths"]
    for schemes in ([wide, narrow], [narrow, wide], [narrow]):
        assert results.common_table(schemes) == "qtools"
    alone = wide | {"all_widths": None}
    with pytest.raises(ValueError, match="energy: no table prices every scheme"):
        results.common_table([alone, narrow])


def mixed_tree(root: Path) -> None:
    """Write a run of two schemes, of which the second has 4-bit weights."""
    metrics_tree.write(root, ["lab", "w4a8"])
    for name, layers in (("lab", LAYERS), ("w4a8", NARROW)):
        metrics, rows = energy_metrics.metrics(layers, PRICES), energy_metrics.rows(layers, PRICES)
        files.write_json(root / f"metrics/energy/{name}.json", metrics)
        files.write_csv(root / f"plots/energy/{name}.csv", energy.COLUMNS, rows)


def test_compare_uses_a_table_that_prices_every_scheme(tmp_path: Path) -> None:
    mixed_tree(tmp_path)
    run_compare(tmp_path)
    compared = files.read_json(tmp_path / "metrics/compare.json")
    assert compared["energy_table"] == "qtools"
    for name, layers in (("lab", LAYERS), ("w4a8", NARROW)):
        exact = energy.total(energy.integer_counts(layers, "per_use"), QTOOLS)
        assert compared["schemes"][name]["energy_uj"] == pytest.approx(float(exact / 10**6))
    with (tmp_path / "plots/energy-sensitivity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(ENERGY_SENSITIVITY)
    assert [row["scheme"] for row in rows] == ["lab"] * 28 + ["w4a8"] * 14
    found = results.read(tmp_path, ["lab", "w4a8"])
    for scheme in found.schemes:
        assert {row["table"] for row in scheme.plots["energy"]} == {"qtools"}
        assert {row["kind"] for row in scheme.plots["memory"]} == set(memory.KINDS)
        assert scheme.energy == scheme.metrics["energy"]["all_widths"]


def test_every_number_of_a_page_in_the_wider_table_equals_its_source(tmp_path: Path) -> None:
    mixed_tree(tmp_path)
    run_compare(tmp_path)
    shown = Counter()
    page = Page((tmp_path / "report/index.html").read_text(encoding="utf-8"))
    for _, value, name, key in page.numbers():
        assert {value} == values_at(tmp_path, name, key), (name, key)
        shown[name, key] += 1
    for scheme in ("lab", "w4a8"):
        file = f"metrics/energy/{scheme}.json"
        assert shown[file, "all_widths.integer_uj"]
        # The configured table's own figures stand once, among the others; w4a8 has none.
        assert shown[file, "integer_uj"] == (scheme == "lab")
        assert all(shown[file, f"all_widths.conventions.{c}.integer_uj"] == 1
                   for c in energy.CONVENTIONS)  # fmt: skip


def test_stage_reads_the_kind_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "models/integer/lab.safetensors"
    integer_file(path)
    power = {"weight_kind": "power_of_two", "weight_code_bits": 4}
    codes = {"weight_bits": 8, "input_bits": 8, "input_zero_point": 0, "relu": False} | power
    out = {"output": "codes", "output_bits": 8, "output_zero_point": 0}
    integer_file(path, layers=[
        {"kind": "conv2d", "kernel": 3, "stride": 2, "padding": 1} | codes | out,
        {"kind": "maxpool2d", "kernel": 2, "stride": 2},
        {"kind": "flatten"},
        {"kind": "linear", "output": "int32"} | codes,
    ])  # fmt: skip
    first, last = shapes.read(path)
    assert (first.weight_kind, first.weight_bits, first.weight_code_bits) == ("power_of_two", 8, 4)
    assert (first.weights, first.biases, first.outputs, first.written) == (108, 4, 64, 16)
    assert (last.weights, last.biases, last.written) == (80, 5, 5)
    done = run_stage(tmp_path, memory="horowitz")
    assert (done.returncode, done.stderr) == (0, "")
    metrics = json.loads((tmp_path / "metrics/energy/lab.json").read_text(encoding="utf-8"))
    # 1,808 shifts and int32 additions, 64 requantizing shifts
    assert metrics["integer_uj"] == pytest.approx((1808 * 0.11 + 64 * 0.01) / 10**6)
    assert metrics["memory"]["bits"]["integer"] == {
        "weights_read": 4 * 188 + 32 * 9,
        "activations_read": 8 * (192 + 16),
        "activations_written": 8 * 16 + 32 * 5,
    }
    with (tmp_path / "plots/energy/lab.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "memory"]
    assert {row["table"] for row in rows} == {"horowitz"}
    for row in rows:
        assert Fraction(row["energy_pj"]) == int(row["count"]) * Fraction(row["price_pj"])


def test_uniform_weights_need_no_new_key(tmp_path: Path) -> None:
    integer_file(tmp_path / "a.safetensors")
    first, _ = shapes.read(tmp_path / "a.safetensors")
    assert (first.weight_kind, first.weight_code_bits) == ("uniform", 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "none"}, "energy.memory = none: no such table; name one of horowitz, or null"),
        ({"memory": "horowitz", "weights_in": "disk"},
         "energy.weights_in = disk: no place of horowitz; name one of sram_8kb"),
        ({"memory": "horowitz", "activations_in": "disk"}, "energy.activations_in = disk: no"),
        ({"all_widths": "none"}, "energy.all_widths = none: no such table; name one of lab"),
    ],
)  # fmt: skip
def test_unknown_tables_and_places_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        energy_metrics.load(Energy(table="lab", zero_point="per_use", **change))
    assert "\n" not in str(caught.value)


GOOD = {"operand": "width", "coefficients": [0, 1], "bits": [2, 8], "source": "a"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": 1}, "must have the keys bits, coefficients, operand, source"),
        ({"operand": "area"}, "operand = 'area': use one of"),
        ({"operand": ["width"]}, "operand = "),
        ({"source": "b"}, "source = 'b': not in sources"),
        ({"bits": [8, 2]}, "bits = .*narrowest"),
        ({"bits": 8}, "bits = 8"),
        ({"bits": [0, 8]}, "bits = "),
        ({"bits": [2, 4, 8]}, "bits = "),
        ({"coefficients": []}, "coefficients = .*: must be a list"),
        ({"coefficients": [1, -1]}, "coefficient = -1: must be a number of 0 or more"),
        ({"coefficients": [True]}, "coefficient = True: must be"),
    ],
)
def test_bad_formulas_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formulas.parse("t.yaml: formulas: add", GOOD | change, {"a": "who"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "nJ"}, "unit = 'nJ': must be pJ"),
        ({"color": 1}, "must be a mapping with the keys"),
        ({"access_bits": 0}, "access_bits = 0: must be a number of bits"),
        ({"places": None}, "sources and places must be mappings"),
        ({"places": {"a": 1}}, "a = 1: must have price, capacity_kib and source"),
        ({"places": {"a": {"price": -1, "capacity_kib": 1, "source": "horowitz-2014"}}}, "price ="),
        ({"places": {"a": {"price": 1, "capacity_kib": 0, "source": "horowitz-2014"}}}, "capacity"),
        ({"places": {"a": {"price": 1, "capacity_kib": 1, "source": "me"}}}, "source = 'me'"),
    ],
)
def test_bad_memory_tables_are_refused(change: dict[str, object], message: str) -> None:
    path = price_table.FOLDER / "memory/horowitz.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=message):
        memory_table.parse(values | change, "horowitz.yaml")
