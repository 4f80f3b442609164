"""What a scheme's metrics say: null figures, two tables, memory, sensitivity; and the docs page."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from energy_cases import FLIPPED, HOROWITZ, LAB, LAYERS, NARROW, PRICES, QTOOLS

from powtwo.energy import memory
from powtwo.energy.counts import CONVENTIONS, float_counts, integer_counts, total_energy
from powtwo.energy.memory import memory_counts
from powtwo.energy.metrics import (
    CONVENTION_COLUMNS,
    TERM_COLUMNS,
    Prices,
    convention_rows,
    load_prices,
    scheme_metrics,
    term_rows,
)
from powtwo.energy.operation_prices import UnpricedError
from powtwo.energy.params import Energy
from powtwo.energy.sensitivity import sensitivity_rows
from powtwo.integer.shapes import LayerShape
from powtwo.tools.docs import energy_page, markdown

GOLDEN = ("5,888", "422.8", "388.24", "384.4", "384.1", "244,193,024", "17,523,126.16")
FLIPPED_UJ = 5.84063114  # 53,085,440·0.11 + 123,274·0.01 pJ
NOTHING = dict.fromkeys(("integer_uj", "ratio", "last_integer_pj"))


def configured(**changes: object) -> Prices:
    return load_prices(energy_page.CONFIGURED.model_copy(update=changes))


def terms(layers: list[LayerShape], prices: Prices, part: str) -> list[dict[str, Any]]:
    rows = [dict(zip(TERM_COLUMNS, row, strict=True)) for row in term_rows(layers, prices)]
    return [row for row in rows if row["part"] == part]


def test_8_bits_are_priced_in_both_tables_and_the_lab_s_stand_at_the_top() -> None:
    metrics = scheme_metrics(LAYERS, PRICES)
    assert (metrics["float_uj"], metrics["last_float_pj"]) == (244.193024, 5888)
    assert (metrics["integer_uj"], metrics["last_integer_pj"]) == (17.52312616, 422.8)
    assert (metrics["macs"], metrics["unpriced"]) == (53_085_440, None)
    last = {name: each["last_integer_pj"] for name, each in metrics["conventions"].items()}
    assert last == {"per_use": 422.8, "per_input": 388.24, "folded": 384.4, "msb_flip": 384.1}
    assert metrics["all_widths"]["float_uj"] == metrics["float_uj"]
    assert sum(metrics["kinds_uj"]["integer"].values()) == pytest.approx(metrics["integer_uj"])


def test_a_scheme_that_the_table_lacks_is_null_there_and_priced_beside_it() -> None:
    metrics = scheme_metrics(NARROW, PRICES)
    assert {key: metrics[key] for key in NOTHING} == NOTHING
    assert (metrics["float_uj"], metrics["last_float_pj"]) == (244.193024, 5888)
    assert metrics["unpriced"] == "int4x8_multiply"
    assert metrics["conventions"] == dict.fromkeys(CONVENTIONS, NOTHING)
    wide = metrics["all_widths"]
    assert (wide["table"], wide["unpriced"]) == ("qtools", None)
    pj = total_energy(integer_counts(NARROW, "per_use"), QTOOLS)
    assert wide["integer_uj"] == float(pj / 10**6)
    assert wide["ratio"] == float(244_193_024 / pj)
    assert {row["table"] for row in metrics["sensitivity"]} == {"qtools"}
    assert {row["table"] for row in terms(NARROW, PRICES, "arithmetic")} == {"qtools"}


def test_a_table_is_judged_by_the_configured_convention_alone() -> None:
    prices = configured(zero_point="msb_flip", all_widths=None)
    metrics = scheme_metrics(FLIPPED, prices)
    ratio = float(Fraction("244.193024") / Fraction("5.84063114"))
    figures = {"integer_uj": FLIPPED_UJ, "ratio": ratio, "last_integer_pj": 140.9}
    assert {key: metrics[key] for key in figures} == figures
    assert metrics["unpriced"] is None
    assert sum(metrics["kinds_uj"]["integer"].values()) == pytest.approx(FLIPPED_UJ)
    assert metrics["conventions"] == dict.fromkeys(CONVENTIONS, NOTHING) | {"msb_flip": figures}
    rows = terms(FLIPPED, prices, "arithmetic")
    pj = sum(row["energy_pj"] for row in rows if row["arithmetic"] == "integer")
    assert pj == pytest.approx(FLIPPED_UJ * 10**6)
    # Where the configured convention has no price, no other has figures at the top either.
    conventions = scheme_metrics(FLIPPED, PRICES)["conventions"]
    assert conventions == dict.fromkeys(CONVENTIONS, NOTHING)
    by_layer = [dict(zip(CONVENTION_COLUMNS, row, strict=True))
                for row in convention_rows(FLIPPED, prices)]  # fmt: skip
    assert {row["zero_point"] for row in by_layer} == {"msb_flip"}
    assert sum(row["energy_pj"] for row in by_layer) == pytest.approx(FLIPPED_UJ * 10**6)


@pytest.mark.parametrize("wider", [None, "lab"])
@pytest.mark.parametrize("convention", ["per_use", "per_input", "folded"])
def test_a_scheme_that_no_table_prices_is_an_error(convention: str, wider: str | None) -> None:
    prices = configured(zero_point=convention, all_widths=wider)
    for layers, operation in ((FLIPPED, "int4_add"), (NARROW, "int4x8_multiply")):
        with pytest.raises(
            UnpricedError, match=f"energy.table = lab: has no price for {operation}"
        ):
            scheme_metrics(layers, prices)
    assert scheme_metrics(LAYERS, prices)["all_widths"] is None


@pytest.mark.parametrize("operation", ["fp32_add", "shift"])
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_operation_without_a_price_is_an_error(operation: str, convention: str) -> None:
    left = {name: price for name, price in LAB.prices.items() if name != operation}
    table = LAB.model_copy(update={"prices": left})
    params = Energy(table="lab", zero_point=convention)
    with pytest.raises(UnpricedError, match=rf"energy\.table = lab: has no price for {operation}"):
        scheme_metrics(LAYERS, Prices(params, [table], None))


def test_memory_is_in_no_energy_called_arithmetic() -> None:
    alone = configured(memory=None)
    metrics = [scheme_metrics(LAYERS, prices) for prices in (PRICES, alone)]
    traffic = [each.pop("memory") for each in metrics]
    for each in metrics:
        del each["sensitivity"]
    assert metrics[0] == metrics[1]
    assert traffic[1] is None
    assert traffic[0]["integer_uj"] == 241.315025
    assert traffic[0]["ratio"] == traffic[0]["float_uj"] / traffic[0]["integer_uj"]
    for arithmetic in ("float", "integer"):
        kinds = traffic[0]["kinds_uj"][arithmetic]
        assert list(kinds) == list(memory.KINDS)
        assert sum(kinds.values()) == pytest.approx(traffic[0][f"{arithmetic}_uj"])
    assert terms(LAYERS, alone, "memory") == []


def test_sensitivity_varies_one_assumption_at_a_time() -> None:
    rows = scheme_metrics(LAYERS, PRICES)["sensitivity"]
    assert len(rows) == 2 * (4 + 5 + 5)
    base = {"zero_point": "per_use", "weights_in": "dram", "activations_in": "sram_1mb"}
    for row in rows:
        assert {name: row[name] for name in base} == base | {row["varied"]: row["value"]}
        table = {"lab": LAB, "qtools": QTOOLS}[row["table"]]
        exact = total_energy(float_counts(LAYERS), table)
        integer = total_energy(integer_counts(LAYERS, row["zero_point"]), table)
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
        alone = row["varied"] == "zero_point"  # which moves no bit in memory
        assert row["ratio"] == row["arithmetic_ratio" if alone else "sum_ratio"]
        assert row["ratio_of"] == "arithmetic" + " and memory together" * (not alone)


def test_sensitivity_without_memory_is_of_conventions_alone() -> None:
    rows = sensitivity_rows(LAYERS, [LAB], None, Energy(table="lab", zero_point="per_use"))
    assert [row["value"] for row in rows] == list(CONVENTIONS)
    for key in ("sum_ratio", "memory_ratio", "weights_in", "activations_in"):
        assert {row[key] for row in rows} == {None}


def test_a_convention_without_a_price_has_a_row_of_sensitivity_with_nulls() -> None:
    metrics = scheme_metrics(FLIPPED, configured(zero_point="msb_flip"))
    assert len(metrics["sensitivity"]) == 2 * (4 + 5 + 5)
    unknown = {"arithmetic_integer_uj", "arithmetic_ratio", "sum_ratio", "ratio"}
    for row in metrics["sensitivity"]:
        lacking = row["table"] == "lab" and row["zero_point"] != "msb_flip"
        assert {key for key in row if row[key] is None} == (unknown if lacking else set())
        assert row["arithmetic_float_uj"] == 244.193024
        assert lacking or row["table"] == "qtools" or row["arithmetic_integer_uj"] == FLIPPED_UJ
    table = "\n".join(energy_page.sensitivity({"flipped": metrics}))
    for name in CONVENTIONS:
        ratio = "41.8" if name == "msb_flip" else "–"
        assert f"| arithmetic, `lab` | `zero_point` | `{name}` | {ratio} |" in table


@pytest.mark.parametrize(
    ("change", "message"),
    [
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
