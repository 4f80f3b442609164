"""What a scheme's totals say: null figures, two tables, memory, sensitivity; and the docs page."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from energy_cases import EXACT, FLIPPED, HOROWITZ, LAB, LAYERS, NARROW, PRICES, QTOOLS

from powtwo.energy.adder_tree import tree_sums
from powtwo.energy.counts import (
    CONVENTIONS,
    accumulator_sums,
    float_counts,
    integer_counts,
    total_energy,
)
from powtwo.energy.memory import memory_counts
from powtwo.energy.metrics import (
    CONVENTION_COLUMNS,
    TERM_COLUMNS,
    Prices,
    assumption_rows,
    convention_rows,
    headline,
    load_prices,
    term_rows,
    totals,
)
from powtwo.energy.operation_prices import UnpricedError
from powtwo.energy.params import Energy
from powtwo.energy.sensitivity import sensitivity_rows
from powtwo.integer.shapes import LayerShape
from powtwo.tools.docs import energy_page, markdown

GOLDEN = ("5,888", "422.8", "388.24", "384.4", "384.1", "244,193,024", "17,523,126.16")
# Both in sram_1mb, a 64th of 100 pJ a bit: weights, biases, inputs and outputs in bits.
WITH_SRAM = (Fraction("244193024") + Fraction(100, 64) * 32 * (1_467_488 + 1_354 + 157_450)) / (
    Fraction("17523126.16") + Fraction(100, 64) * (8 * 1_467_488 + 32 * 1_354 + 8 * 157_450)
)
FLIPPED_UJ = 5.84063114  # 53,085,440·0.11 + 123,274·0.01 pJ


def configured(**changes: object) -> Prices:
    return load_prices(energy_page.CONFIGURED.model_copy(update=changes))


def exact(**changes: object) -> Prices:
    """Return prices by which a 4-bit addition has none in the table `lab`."""
    prices = configured(**changes)
    return replace(prices, tables=[EXACT if t.name == "lab" else t for t in prices.tables])


def terms(layers: list[LayerShape], prices: Prices, part: str) -> list[dict[str, Any]]:
    rows = [dict(zip(TERM_COLUMNS, row, strict=True)) for row in term_rows(layers, prices)]
    return [row for row in rows if row["part"] == part]


def test_8_bits_are_priced_in_both_tables_and_the_lab_s_stand_at_the_top() -> None:
    lab, qtools, _ = totals(LAYERS, PRICES)
    assert headline([lab, qtools]) == {
        "float_uj": 244.193024, "integer_uj": 17.52312616, "last_float_pj": 5888,
        "last_integer_pj": 422.8, "ratio": float(Fraction("244.193024") / Fraction("17.52312616")),
        "ratio_gated_dense": None, "ratio_gated_gated": None,  # without zeros
        "ratio_with_sram": float(WITH_SRAM),
    }  # fmt: skip
    assert (lab.table, lab.zero_point) == ("lab", "per_use")
    assert (lab.macs, lab.unpriced, lab.too_large) == (53_085_440, None, None)
    assert (qtools.table, qtools.float_uj) == ("qtools", lab.float_uj)


@pytest.mark.parametrize(
    ("convention", "pj"),
    [("per_use", 422.8), ("per_input", 388.24), ("folded", 384.4), ("msb_flip", 384.1)],
)
def test_the_last_layer_under_each_convention(convention: str, pj: float) -> None:
    assert totals(LAYERS, configured(zero_point=convention))[0].last_integer_pj == pj


def test_a_scheme_that_the_table_lacks_is_null_there_and_priced_beside_it() -> None:
    lab, wide, _ = totals(NARROW, PRICES)
    assert (lab.integer_uj, lab.ratio, lab.last_integer_pj) == (None, None, None)
    assert (lab.float_uj, lab.last_float_pj) == (244.193024, 5888)
    assert lab.unpriced == "int4x8_multiply"
    assert (wide.table, wide.unpriced) == ("qtools", None)
    pj = total_energy(integer_counts(NARROW, "per_use"), QTOOLS)
    assert wide.integer_uj == float(pj / 10**6)
    assert wide.ratio == float(244_193_024 / pj)
    assert {row["table"] for row in assumption_rows(NARROW, PRICES)} == {"qtools"}
    assert {row["table"] for row in terms(NARROW, PRICES, "arithmetic")} == {"qtools"}


def test_a_table_is_judged_by_the_configured_convention_alone() -> None:
    prices = exact(zero_point="msb_flip", all_widths=None)
    lab, _ = totals(FLIPPED, prices)
    ratio = float(Fraction("244.193024") / Fraction("5.84063114"))
    assert (lab.integer_uj, lab.ratio, lab.last_integer_pj) == (FLIPPED_UJ, ratio, 140.9)
    assert lab.unpriced is None
    priced = {row["value"] for row in assumption_rows(FLIPPED, prices)
              if row["varied"] == "zero_point" and row["arithmetic_integer_uj"]}  # fmt: skip
    assert priced == {"msb_flip"}
    rows = terms(FLIPPED, prices, "arithmetic")
    pj = sum(row["energy_pj"] for row in rows if row["arithmetic"] == "integer")
    assert pj == pytest.approx(FLIPPED_UJ * 10**6)
    # Where the configured convention has no price, no other has figures by that table either.
    assert {row["table"] for row in assumption_rows(FLIPPED, exact())} == {"qtools"}
    by_layer = [dict(zip(CONVENTION_COLUMNS, row, strict=True))
                for row in convention_rows(FLIPPED, prices)]  # fmt: skip
    assert {row["zero_point"] for row in by_layer} == {"msb_flip"}
    assert sum(row["energy_pj"] for row in by_layer) == pytest.approx(FLIPPED_UJ * 10**6)


@pytest.mark.parametrize("wider", [None, "lab"])
@pytest.mark.parametrize("convention", ["per_use", "per_input", "folded"])
def test_a_scheme_that_no_table_prices_is_an_error(convention: str, wider: str | None) -> None:
    prices = exact(zero_point=convention, all_widths=wider)
    for layers, operation in ((FLIPPED, "int4_add"), (NARROW, "int4x8_multiply")):
        with pytest.raises(
            UnpricedError, match=f"energy.table = lab: has no price for {operation}"
        ):
            totals(layers, prices)
    assert [total.part for total in totals(LAYERS, prices)] == ["arithmetic", "memory"]


@pytest.mark.parametrize("operation", ["fp32_add", "shift"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_operation_without_a_price_is_an_error(operation: str, convention: str) -> None:
    left = {name: price for name, price in LAB.prices.items() if name != operation}
    table = LAB.model_copy(update={"prices": left})
    params = Energy(table="lab", zero_point=convention)
    with pytest.raises(UnpricedError, match=rf"energy\.table = lab: has no price for {operation}"):
        totals(LAYERS, Prices(params, [table], None))


def test_memory_is_in_no_energy_called_arithmetic() -> None:
    alone = configured(memory=None)
    *arithmetic, traffic = totals(LAYERS, PRICES)
    nothing = {"sram_float_uj": None, "sram_integer_uj": None, "ratio_with_sram": None}
    assert totals(LAYERS, alone) == [row._replace(**nothing) for row in arithmetic]
    assert (traffic.part, traffic.table) == ("memory", "horowitz")
    assert (traffic.weights_in, traffic.activations_in) == ("dram", "sram_1mb")
    assert traffic.integer_uj == 241.315025
    assert traffic.ratio == traffic.float_uj / traffic.integer_uj
    rows = terms(LAYERS, PRICES, "memory")
    for name in ("float", "integer"):
        pj = sum(row["energy_pj"] for row in rows if row["arithmetic"] == name)
        assert pj == pytest.approx(10**6 * getattr(traffic, f"{name}_uj"))
    assert terms(LAYERS, alone, "memory") == []


def test_what_does_not_fit_its_memory_level_is_named() -> None:
    *_, traffic = totals(LAYERS, configured(activations_in="sram_8kb"))
    assert traffic.too_large.startswith("float activations: 160 KiB in sram_8kb, which holds 8 KiB")
    assert traffic.too_large.count("; ") == 1  # and the integers


def test_sensitivity_varies_one_assumption_at_a_time() -> None:
    rows = assumption_rows(LAYERS, PRICES)
    assert len(rows) == 2 * (4 + 2 + 5 + 5)
    base = {"zero_point": "per_use", "weights_in": "dram", "activations_in": "sram_1mb"}
    for row in rows:
        changed = {row["varied"]: row["value"]} if row["varied"] in base else {}
        assert {name: row[name] for name in base} == base | changed
        table = {"lab": LAB, "qtools": QTOOLS}[row["table"]]
        exact = total_energy(float_counts(LAYERS), table)
        sums = tree_sums if row["value"] == "tree" else accumulator_sums
        integer = total_energy(integer_counts(LAYERS, row["zero_point"], sums), table)
        exact_memory, integer_memory = (
            total_energy(
                memory_counts(LAYERS, kind, row["weights_in"], row["activations_in"]), HOROWITZ
            )
            for kind in ("float", "integer")
        )
        assert row["arithmetic_ratio"] == float(exact / integer)
        assert row["memory_ratio"] == float(exact_memory / integer_memory)
        assert row["memory_integer_uj"] == float(integer_memory / 10**6)
        assert row["sum_ratio"] == float((exact + exact_memory) / (integer + integer_memory))
        alone = row["varied"] in ("zero_point", "sums")  # which move no bit in memory
        assert row["ratio"] == row["arithmetic_ratio" if alone else "sum_ratio"]
        assert row["ratio_of"] == "arithmetic" + " and memory together" * (not alone)


def test_sensitivity_without_memory_is_of_conventions_and_sums_alone() -> None:
    rows = sensitivity_rows(LAYERS, [LAB], None, Energy(table="lab", zero_point="per_use"))
    assert [row["value"] for row in rows] == [*CONVENTIONS, "accumulator", "tree"]
    for key in ("sum_ratio", "memory_ratio", "weights_in", "activations_in"):
        assert {row[key] for row in rows} == {None}


def test_a_convention_without_a_price_has_a_row_of_sensitivity_with_nulls() -> None:
    rows = assumption_rows(FLIPPED, exact(zero_point="msb_flip"))
    assert len(rows) == 2 * (4 + 2 + 5 + 5)
    unknown = {"arithmetic_integer_uj", "arithmetic_ratio", "sum_ratio", "ratio"}
    for row in rows:
        narrow = row["zero_point"] != "msb_flip" or row["value"] == "tree"  # needs narrow adders
        lacking = row["table"] == "lab" and narrow
        assert {key for key in row if row[key] is None} == (unknown if lacking else set())
        assert row["arithmetic_float_uj"] == 244.193024
        assert lacking or row["table"] == "qtools" or row["arithmetic_integer_uj"] == FLIPPED_UJ
    table = "\n".join(energy_page.sensitivity({"flipped": rows}))
    for name in CONVENTIONS:
        ratio = "41.8" if name == "msb_flip" else "–"
        assert f"| arithmetic, `lab` | `zero_point` | `{name}` | {ratio} |" in table


def test_another_process_node_has_a_row_of_its_own_fp32() -> None:
    *rows, row = assumption_rows(LAYERS, configured(second_node="tpuv4i"))
    assert rows == assumption_rows(LAYERS, PRICES)
    assert (row["varied"], row["value"], row["table"]) == ("process", "7nm", "tpuv4i")
    assert list(row) == list(rows[0])
    macs, outputs = 53_085_440, 123_274
    exact = macs * Fraction("1.69")
    # a product, its int32 addition, an int8 subtraction of z_x; a shift, an int8 addition of z_y
    integer = macs * Fraction("0.107") + outputs * Fraction("0.017")
    assert row["ratio"] == row["arithmetic_ratio"] == float(exact / integer)
    assert row["ratio_of"] == "arithmetic"
    assert row["memory_ratio"] is not None
    assert row["sum_ratio"] < row["ratio"]


def test_another_process_node_that_lacks_a_width_or_a_memory_has_nulls() -> None:
    *_, row = assumption_rows(NARROW, configured(second_node="tpuv4i"))
    assert (row["ratio"], row["arithmetic_integer_uj"], row["sum_ratio"]) == (None, None, None)
    assert row["arithmetic_float_uj"] == float(53_085_440 * Fraction("1.69") / 10**6)
    *_, row = assumption_rows(LAYERS, configured(second_node="tpuv4i", weights_in="dram_high"))
    assert (row["memory_ratio"], row["sum_ratio"], row["weights_in"]) == (None, None, None)
    assert row["ratio"] is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second_node": "none"}, "energy.second_node = none: no such table; name one of lab"),
        ({"second_node": "lab"}, "energy.second_node = lab: no such table; name one of horowitz"),
        ({"table": "none"}, "energy.table = none: no such table; name one of lab, qtools"),
        ({"memory": "none"}, "energy.memory = none: no such table; name one of horowitz"),
        ({"memory": "horowitz", "weights_in": "disk"},
         "energy.weights_in = disk: no memory of horowitz; name one of sram_8kb"),
        ({"memory": "horowitz", "activations_in": "disk"}, "energy.activations_in = disk: no"),
        ({"all_widths": "none"}, "energy.all_widths = none: no such table; name one of lab"),
    ],
)  # fmt: skip
def test_unknown_tables_and_memory_levels_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_prices(Energy(**{"table": "lab", "zero_point": "per_use"} | change))
    assert "\n" not in str(caught.value)


def test_docs_show_the_present_working() -> None:
    page = energy_page.PAGE.read_text(encoding="utf-8")
    for name, text in energy_page.passages().items():
        assert markdown.insert(page, name, text) == page, f"{name} is stale: run `inv docs`"
    for golden in GOLDEN:
        assert f"**{golden}**" in page
    for name, price in LAB.prices.items():
        assert f"| `{name}` | {energy_page.decimal(price.price)} |" in page
