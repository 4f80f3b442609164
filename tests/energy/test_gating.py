"""What gated hardware saves, worked by hand; and the file of zeros, read or refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from energy_cases import LAB, LAYERS, NARROW, PRICES, SHIFTS, write_zeros
from hypothesis import given
from hypothesis import strategies as st
from metrics_tree import read_csv

from powtwo.energy.counts import float_counts, integer_counts, total_energy
from powtwo.energy.gating import ZeroShares, gated_energy, read_shares
from powtwo.energy.metrics import headline, totals

LAST = LAYERS[-1]  # linear 128 → 10
QUARTER = {layer.index: Fraction(1, 4) for layer in LAYERS}
HALF = {layer.index: Fraction(1, 2) for layer in LAYERS}


def test_a_quarter_of_the_last_layer_s_products_is_skipped() -> None:
    # 0.75 · (256 + 127); 1 bias, 38.4 zero points and 0.4 of requantizing stay
    integer = gated_energy(integer_counts([LAST], "per_use"), LAB, QUARTER)
    assert integer == Fraction("287.25") + Fraction("39.8")
    # 0.75 · (4736 + 1143) + 9
    assert gated_energy(float_counts([LAST]), LAB, QUARTER) == Fraction("4418.25")


def test_spills_of_tiles_stay() -> None:
    tiled = replace(SHIFTS[-1], accumulator_bits=16, spills=20)
    counts = integer_counts([tiled], "per_use")
    assert total_energy(counts, LAB) == 1280 * Fraction("0.06") + 2
    assert gated_energy(counts, LAB, HALF) == 640 * Fraction("0.06") + 2


def test_three_ratios_of_the_whole_network() -> None:
    row, *_ = totals(LAYERS, PRICES, ZeroShares(in_float=HALF, in_integers=QUARTER))
    dense, products = Fraction("17523126.16"), Fraction("10617088") + Fraction("5296216.6")
    gated = dense - products / 4
    gated_float = 244_193_024 - Fraction(196_416_128 + Fraction("47665949.4")) / 2
    assert row.ratio == float(244_193_024 / dense)
    assert row.ratio_gated_dense == float(244_193_024 / gated)
    assert row.ratio_gated_gated == float(gated_float / gated)
    assert row.gated_float_uj == float(gated_float / 10**6)
    assert row.gated_integer_uj == float(gated / 10**6)
    written = headline([row])
    assert {key: written[key] for key in written if key.startswith("ratio_g")} == {
        "ratio_gated_dense": row.ratio_gated_dense, "ratio_gated_gated": row.ratio_gated_gated,
    }  # fmt: skip


def test_without_a_price_the_ratios_of_gated_integers_are_null() -> None:
    lab, wide, _ = totals(NARROW, PRICES, ZeroShares(HALF, QUARTER))
    assert (lab.ratio_gated_dense, lab.ratio_gated_gated, lab.ratio_with_sram) == (None,) * 3
    assert lab.gated_float_uj is not None
    assert None not in (wide.ratio_gated_dense, wide.ratio_gated_gated, wide.ratio_with_sram)


@given(st.fractions(0, 1), st.fractions(0, 1))
def test_more_zeros_save_more(one: Fraction, other: Fraction) -> None:
    counts = integer_counts([LAST], "per_use")
    low, high = sorted([one, other])
    energies = [gated_energy(counts, LAB, {LAST.index: share}) for share in (low, high)]
    assert (energies[0] > energies[1]) == (low < high)
    assert gated_energy(counts, LAB, {LAST.index: Fraction(0)}) == total_energy(counts, LAB)


def test_shares_are_exact(tmp_path: Path) -> None:
    write_zeros(tmp_path / "z.csv", LAYERS, images=3)
    assert read_shares(tmp_path / "z.csv", LAYERS) == {
        layer.index: Fraction(layer.macs // 4, 3 * layer.macs) for layer in LAYERS
    }


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("layer", "2", "layers = [2, 1, 3,"),
        ("layer", "x", "layer = 'x': must be a count"),
        ("products", "5", "products = 5: must be 884736 for each of 3 images"),
        ("images", "0", "products = 2654208: must be 884736 for each of 0 images"),
        ("zero_products", "2654209", "zero_products = 2654209: must be at most 2654208"),
        ("zero_products", "-1", "zero_products = '-1': must be a count"),
        ("zero_products", "", "zero_products = '': must be a count"),
    ],
)
def test_a_file_of_another_network_is_refused(
    tmp_path: Path, column: str, value: str, message: str
) -> None:
    path = tmp_path / "z.csv"
    write_zeros(path, LAYERS, images=3)
    rows = read_csv(path)
    rows[0][column] = value
    lines = [list(rows[0]), *(row.values() for row in rows)]
    path.write_text("\n".join(",".join(line) for line in lines), encoding="utf-8")
    with pytest.raises(ValueError, match="again") as caught:
        read_shares(path, LAYERS)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "z.csv").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"layers = \[\]: must be"):
        read_shares(tmp_path / "z.csv", LAYERS)
    with pytest.raises(FileNotFoundError):
        read_shares(tmp_path / "none.csv", LAYERS)
