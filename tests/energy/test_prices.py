"""Tables of prices against published polynomials and figures; broken tables are refused."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import yaml
from energy_cases import EXACT, HOROWITZ, LAB, QTOOLS
from hypothesis import given
from hypothesis import strategies as st

from powtwo.core.params import ParamsError
from powtwo.energy.memory import load_memory_table
from powtwo.energy.operation_prices import FOLDER, Table, UnpricedError, load_price_table

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
    for operation in ("fp32_multiply", "fp32_add"):
        assert QTOOLS[operation] == LAB[operation]


@given(st.sampled_from(["multiply", "shift"]), widths, widths)
def test_more_bits_never_cost_less(name: str, weight: int, code: int) -> None:
    price = QTOOLS[f"int{weight}x{code}_{name}"]
    assert QTOOLS[f"int{weight + 1}x{code}_{name}"] > price > 0
    assert QTOOLS[f"int{weight}x{code + 1}_{name}"] > price


def test_the_labs_prices_and_their_sources() -> None:
    listed = {name: (str(float(entry.price)), entry.source) for name, entry in LAB.prices.items()}
    assert (LAB.name, LAB.process_nm) == ("lab", 45)
    assert listed == {
        "fp32_multiply": ("3.7", "horowitz-2014"),
        "fp32_add": ("0.9", "horowitz-2014"),
        "int32_add": ("0.1", "horowitz-2014"),
        "int16_add": ("0.05", "horowitz-2014"),
        "int8_multiply": ("0.2", "horowitz-2014"),
        "int8_add": ("0.03", "horowitz-2014"),
        "shift": ("0.01", "course"),
    }


def test_the_lab_shifts_by_a_weight_at_the_price_of_a_shift_and_multiplies_int8_alone() -> None:
    assert LAB["int4x8_shift"] == LAB["int4_shift"] == LAB["shift"] == Fraction("0.01")
    for name in ("int4x8_multiply", "int4_multiply", "int8x4_multiply", "int2x8_mux", "int4_mux"):
        with pytest.raises(UnpricedError):
            LAB[name]


@pytest.mark.parametrize(
    ("bits", "pj"), [(1, "0.03"), (8, "0.03"), (9, "0.05"), (12, "0.05"), (16, "0.05"),
                     (17, "0.1"), (32, "0.1"), (33, None), (64, None)],
)  # fmt: skip
def test_an_adder_that_the_lab_does_not_list_costs_what_the_next_wider_does(
    bits: int, pj: str | None
) -> None:
    assert LAB.get(f"int{bits}_add") == (None if pj is None else Fraction(pj))
    assert LAB.get(f"int{bits}x8_add") is None  # an adder has one width
    assert EXACT.get(f"int{bits}_add") == (Fraction(pj) if pj and bits in (8, 16, 32) else None)


@pytest.mark.parametrize("code", range(2, 9))
def test_qtools_gates_are_shares_of_an_adder(code: int) -> None:
    """Mux and AndGate of multiplier_impl.py: gate_factor times fpm_add of gate_bits."""
    mux = QTOOLS["int2_mux" if code == 2 else f"int2x{code}_mux"]
    assert mux == Fraction("0.6") * Fraction("0.003125") * code
    assert QTOOLS[f"int1x{code}_xor"] == Fraction("0.3") * Fraction("0.003125") * code
    assert QTOOLS[f"int{code}x1_and"] == Fraction("0.1") * Fraction("0.003125") * code
    assert QTOOLS["int1_xor"] == Fraction("0.0009375")


def test_memory_prices_are_a_64th_of_an_access() -> None:
    accesses = {"sram_8kb": 10, "sram_32kb": 20, "sram_1mb": 100, "dram": 1300, "dram_high": 2600}
    assert {name: HOROWITZ[f"{name}_bit"] for name in HOROWITZ.memory_levels} == {
        name: Fraction(pj, 64) for name, pj in accesses.items()
    }
    assert HOROWITZ["dram_bit"] == Fraction("20.3125")  # dram_rd of QTools, pJ a bit
    assert {level.source for level in HOROWITZ.memory_levels.values()} == {"horowitz-2014"}


@pytest.mark.parametrize(
    "operation",
    [
        "int1_add",
        "int64_multiply",
        "int1x8_multiply",
        "int8x64_multiply",
        "int8_divide",
        "fp16_add",
        "cast",
    ],
)
def test_what_the_source_does_not_cover_is_refused(operation: str) -> None:
    with pytest.raises(UnpricedError, match=f"= qtools: has no price for {operation}") as caught:
        QTOOLS[operation]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (QTOOLS, "energy.table = qtools"),
        (load_price_table("qtools", key="energy.all_widths"), "energy.all_widths = qtools"),
        (HOROWITZ, "energy.memory = horowitz"),
    ],
)
def test_a_missing_price_names_the_parameter_that_named_the_table(table: Table, named: str) -> None:
    with pytest.raises(UnpricedError, match=f"^{named}: has no price for int1_add"):
        table["int1_add"]


def shift(**change: object) -> dict[str, object]:
    return {"prices": {"shift": {"price": 1, "source": "course"} | change}}


def formula(**change: object) -> dict[str, object]:
    good = {"operand": "width", "coefficients": [0, 1], "bits": [2, 8], "source": "course"}
    return {"formulas": {"add": good | change}}


def level(**change: object) -> dict[str, object]:
    good = {"price": 1, "capacity_kib": 1, "source": "horowitz-2014"}
    return {"memory_levels": {"a": good | change}}


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("lab", {"unit": "nJ"}, "unit = 'nJ': .*'pJ'"),
        ("lab", {"color": "red"}, "color = 'red': unknown key"),
        ("lab", {"prices": None}, "prices = None: "),
        ("lab", {"prices": {"shift": 1}}, "prices.shift = 1: "),
        ("lab", {"prices": {"shift": {"price": 1}}}, "prices.shift.source: missing"),
        ("lab", shift(price=-1), "prices.shift.price = -1: must be a number of 0 or more"),
        ("lab", shift(price=float("nan")), "prices.shift.price = nan: must"),
        ("lab", shift(source="me"), "prices.shift.source = 'me': not in sources"),
        ("lab", {"next_wider": "add"}, "next_wider = 'add': "),
        ("lab", formula(color=1), "formulas.add.color = 1: unknown key"),
        ("lab", formula(operand="area"), "formulas.add.operand = 'area': "),
        ("lab", formula(source="b"), "formulas.add.source = 'b': not in sources"),
        ("lab", formula(bits=[8, 2]), "formulas.add.bits = .*narrowest"),
        ("lab", formula(bits=[0, 8]), "formulas.add.bits"),
        ("lab", formula(bits=[2, 4, 8]), "formulas.add.bits"),
        ("lab", formula(coefficients=[]), "formulas.add.coefficients = "),
        ("lab", formula(coefficients=[1, -1]), "coefficients.1 = -1: must be a number of 0"),
        ("lab", formula(coefficients=[True]), "coefficients.0 = True: must be"),
        ("memory/horowitz", {"access_bits": 0}, "access_bits = 0: "),
        ("memory/horowitz", {"memory_levels": None}, "memory_levels = None"),
        ("memory/horowitz", {"memory_levels": {"a": 1}}, "memory_levels.a = 1: "),
        ("memory/horowitz", level(price=-1), "memory_levels.a.price = -1: must"),
        ("memory/horowitz", level(capacity_kib=0), "memory_levels.a.capacity_kib = 0: "),
        ("memory/horowitz", level(source="me"), "memory_levels.a.source = 'me': not in sources"),
    ],
)
def test_bad_tables_are_refused_in_one_line(
    tmp_path: Path, table: str, change: dict[str, object], message: str
) -> None:
    values = yaml.safe_load((FOLDER / f"{table}.yaml").read_text(encoding="utf-8"))
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values | change), encoding="utf-8")
    load = load_price_table if table == "lab" else load_memory_table
    with pytest.raises(ParamsError, match=rf"^bad\.yaml: .*{message}") as caught:
        load("bad", tmp_path)
    assert "\n" not in str(caught.value)


def test_prices_are_the_decimals_that_the_file_shows(tmp_path: Path) -> None:
    values = yaml.safe_load((FOLDER / "lab.yaml").read_text(encoding="utf-8"))
    values["prices"]["shift"]["price"] = 0.1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert load_price_table("mine", tmp_path)["shift"] == Fraction(1, 10)
