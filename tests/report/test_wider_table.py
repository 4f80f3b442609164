"""Schemes that the configured table of prices lacks, as the comparison shows them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import metrics_tree
import pytest
from energy_cases import EXACT, FLIPPED, LAYERS, NARROW, PRICES, QTOOLS
from metrics_tree import read_csv
from report_page import Page, render_text, run_compare, values_at

from powtwo.core import files
from powtwo.energy import memory, metrics
from powtwo.energy.counts import CONVENTIONS, integer_counts, total_energy
from powtwo.energy.gating import ZeroShares
from powtwo.energy.metrics import Prices, load_prices
from powtwo.integer.shapes import LayerShape
from powtwo.report import results
from powtwo.report.columns import MISSING
from powtwo.tools.docs.energy_page import CONFIGURED

pytestmark = pytest.mark.slow
_FLIPPING = load_prices(CONFIGURED.model_copy(update={"zero_point": "msb_flip"}))
MSB_FLIP = replace(_FLIPPING, tables=[EXACT, *_FLIPPING.tables[1:]])  # no adder for a narrower one


def write_energy(root: Path, scheme: str, layers: Sequence[LayerShape], prices: Prices) -> None:
    shares = {layer.index: Fraction(1, 4) for layer in layers}
    totals = metrics.totals(layers, prices, ZeroShares(shares, shares))
    files.write_csv(root / f"plots/totals/{scheme}.csv", metrics.Total._fields, totals)
    assumed = [{"scheme": scheme} | row for row in metrics.assumption_rows(layers, prices)]
    path = root / f"plots/assumptions/{scheme}.csv"
    files.write_csv(path, list(assumed[0]), [list(row.values()) for row in assumed])
    rows = metrics.term_rows(layers, prices)
    files.write_csv(root / f"plots/energy/{scheme}.csv", metrics.TERM_COLUMNS, rows)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two schemes, of which the second has 4-bit weights, compared."""
    root = tmp_path_factory.mktemp("mixed")
    metrics_tree.write(root, ["lab", "w4a8"])
    write_energy(root, "lab", LAYERS, PRICES)
    write_energy(root, "w4a8", NARROW, PRICES)
    run_compare(root)
    return root


def test_compare_uses_a_table_that_prices_every_scheme(mixed: Path) -> None:
    compared = files.read_json(mixed / "metrics/compare.json")
    assert compared["energy_table"] == "qtools"
    for name, layers in (("lab", LAYERS), ("w4a8", NARROW)):
        pj = total_energy(integer_counts(layers, "per_use"), QTOOLS)
        assert compared["energy_ratio"][name] == pytest.approx(float(244_193_024 / pj))
    rows = read_csv(mixed / "plots/energy-sensitivity.csv")
    assert [row["scheme"] for row in rows] == ["lab"] * 32 + ["w4a8"] * 16
    for scheme in results.read(mixed, ["lab", "w4a8"]).schemes:
        assert {row["table"] for row in scheme.plots["energy"]} == {"qtools"}
        assert {row["kind"] for row in scheme.plots["memory"]} == set(memory.KINDS)
        assert scheme.metrics["energy"]["table"] == "qtools"


def test_the_configured_table_is_used_where_it_prices_every_scheme(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab", "other"])
    for name in ("lab", "other"):
        write_energy(tmp_path, name, LAYERS, PRICES)
    run = results.read(tmp_path, ["lab", "other"])
    assert (run.energy_table, run.best["energy_uj"]) == ("lab", 17.523126)
    write_energy(tmp_path, "lab", NARROW, PRICES)
    for order in (["lab", "other"], ["other", "lab"]):
        assert results.read(tmp_path, order).energy_table == "qtools"


def test_every_number_of_a_page_in_the_wider_table_equals_its_source(mixed: Path) -> None:
    shown = Counter()
    page = Page((mixed / "report/index.html").read_text(encoding="utf-8"))
    for _, value, name, key in page.numbers():
        assert {value} == values_at(mixed, name, key), (name, key)
        shown[name, key] += 1
    for scheme in ("lab", "w4a8"):
        file = f"plots/totals/{scheme}.csv"
        assert shown[file, "arithmetic, qtools, integer_uj"]
        assert not shown[file, "arithmetic, lab, integer_uj"]  # which lacks prices
        file = f"plots/assumptions/{scheme}.csv"
        for name in CONVENTIONS:
            assert shown[file, f"zero_point = {name}, qtools, arithmetic_integer_uj"] == 1


def test_the_report_shows_a_dash_for_a_convention_without_a_price(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab"])
    write_energy(tmp_path, "lab", FLIPPED, MSB_FLIP)
    run = results.read(tmp_path, ["lab"])
    assert (run.energy_table, run.best["energy_uj"]) == ("lab", 5.8406311)
    page = render_text(run)
    for name in CONVENTIONS:
        key = f"zero_point = {name}, lab, arithmetic_integer_uj"
        (cell,) = re.findall(rf'<td[^>]*csv: {key}">([^<]*)<', page)
        assert cell == ("5.841" if name == "msb_flip" else MISSING)


def test_schemes_that_share_no_table_are_an_error(tmp_path: Path) -> None:
    metrics_tree.write(tmp_path, ["lab", "w4a8"])
    write_energy(tmp_path, "w4a8", NARROW, PRICES)
    path = tmp_path / "plots/totals/lab.csv"
    metrics_tree.change_row(path, "table", "qtools", unpriced="int8_multiply")
    with pytest.raises(ValueError, match="energy: no table prices every scheme"):
        results.read(tmp_path, ["lab", "w4a8"])
