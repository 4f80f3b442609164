"""What one operation costs: the tables `prices/*.yaml`, read as exact fractions of a pJ.

A table lists operations by name under `prices`, such as `shift`, and prices operations of any width
by `formulas`: `int4x8_multiply` is `multiply` of a weight of 4 bits and a code of 8. A formula is a
polynomial of its operand, a number made of the two widths (see `operand`). An operation under
`next_wider` that a table does not list costs what the next wider one listed does.

Source of operands and polynomials: QKeras, Apache 2.0, https://github.com/google/qkeras,
qkeras/qtools/quantized_operators/multiplier_impl.py and qkeras/qtools/qenergy/qenergy.py
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from powtwo.core.params import Count, ParamsError, Section, parse_yaml, validate

FOLDER = Path(__file__).parent / "prices"
WIDEST = 32  # bits of an accumulator
_OPERATION = re.compile(r"int(\d+)(?:x(\d+))?_(\w+)")


def _exact(value: Any) -> Fraction:
    """Return the decimal that the file shows, which the float only approximates.

    Negative numbers are refused: more work would cost less.
    """
    try:
        number = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        number = Fraction(-1)
    if number < 0:
        raise ValueError("must be a number of 0 or more")
    return number


def _ordered(bits: tuple[int, int]) -> tuple[int, int]:
    if bits[0] > bits[1]:
        raise ValueError("must be [narrowest, widest]")
    return bits


Exact = Annotated[Fraction, BeforeValidator(_exact)]
Operand = Literal["constant", "width", "code_width", "geometric_mean", "shifter"]


class UnpricedError(ValueError):
    """A table has no price for an operation: none is free by default."""


class Table(Section):
    """What every table of prices has: figures, each with a source, and a price by operation."""

    name: str
    unit: Literal["pJ"]
    process_nm: Count
    sources: dict[str, str]
    _key: str = PrivateAttr()  # the parameter that names the table

    def get(self, operation: str) -> Fraction | None:
        """Return the price of an operation in pJ, None where there is none."""
        raise NotImplementedError

    def __getitem__(self, operation: str) -> Fraction:
        """Return the price of an operation in pJ.

        Raises:
            UnpricedError: where the table has none.
        """
        price = self.get(operation)
        if price is None:
            raise UnpricedError(
                f"{self._key} = {self.name}: has no price for {operation}; add it to "
                f"{self.name}.yaml with its source, or name another table"
            )
        return price


class ListedPrice(Section):
    """The price of one operation."""

    price: Exact  # pJ
    source: str


class Formula(Section):
    """Price = Σ coefficients[i] · b^i in pJ, with b the operand."""

    operand: Operand
    coefficients: Annotated[tuple[Exact, ...], Field(strict=False, min_length=1)]  # c₀ first
    # The narrowest and the widest that the source covers.
    bits: Annotated[tuple[Count, Count], Field(strict=False), AfterValidator(_ordered)]
    source: str

    def price(self, weight_bits: int, code_bits: int) -> Fraction | None:
        """Return the price in pJ; None where the source does not cover a width."""
        low, high = self.bits
        if not (low <= weight_bits <= high and low <= code_bits <= high):
            return None
        b = operand(self.operand, weight_bits, code_bits)
        return sum((factor * b**i for i, factor in enumerate(self.coefficients)), Fraction(0))


class PriceTable(Table):
    """Prices of operations by name, such as `int8_multiply`."""

    prices: dict[str, ListedPrice]
    formulas: dict[str, Formula] = Field(default_factory=dict)
    next_wider: list[str] = Field(default_factory=list)  # operations of one width, such as add

    def get(self, operation: str) -> Fraction | None:
        """Return the price in pJ, listed or by formula, None where there is none."""
        if operation in self.prices:
            return self.prices[operation].price
        match = _OPERATION.fullmatch(operation)
        if match is None:
            return None
        weight_bits, code_bits, name = int(match[1]), int(match[2] or match[1]), match[3]
        if name in self.formulas:
            return self.formulas[name].price(weight_bits, code_bits)
        return self._next_wider(weight_bits, name) if match[2] is None else None

    def _next_wider(self, bits: int, name: str) -> Fraction | None:
        """Return the price of the narrowest listed operation that holds `bits`, if any does."""
        if name not in self.next_wider:
            return None
        listed = (self.prices.get(f"int{width}_{name}") for width in range(bits, WIDEST + 1))
        return next((entry.price for entry in listed if entry is not None), None)


@lru_cache
def operand(kind: Operand, weight_bits: int, code_bits: int) -> Fraction:
    """Return the number b that a formula is a polynomial of, to twelve decimals.

    Roots and logarithms are irrational: rounded, sums are exact and the same on every machine.

    Args:
        kind: `constant`, 0: the price is c₀ for every width; `width`, the wider of both;
            `code_width`, x: QTools' mux and xor, which pass the code's bits or invert them;
            `geometric_mean`, √(w·x): QTools' multiplier of unequal widths; `shifter`, s·log10 s
            with s = √(2^w·x): QTools' shifter by a weight ±2^k that is stored in w bits.
        weight_bits: w; of an adder, its only width.
        code_bits: x.
    """
    with localcontext(prec=40):
        match kind:
            case "constant":
                b = Decimal(0)
            case "width":
                b = Decimal(max(weight_bits, code_bits))
            case "code_width":
                b = Decimal(code_bits)
            case "geometric_mean":
                b = Decimal(weight_bits * code_bits).sqrt()
            case "shifter":
                size = Decimal(2**weight_bits * code_bits).sqrt()
                b = size * size.log10()
        return Fraction(round(b, 12))


T = TypeVar("T", bound=Table)


def read_table(model: type[T], name: str, folder: Path, key: str) -> T:
    """Read and check `<folder>/<name>.yaml`; `key` is the parameter that names it.

    Raises:
        ParamsError: where there is no such table, or it breaks a rule.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise ParamsError(f"{key} = {name}: no such table; name one of {known}")
    values = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    table = validate(model, values, path.name)
    table._key = key
    for group in ("prices", "formulas", "memory_levels"):
        for entry, figure in getattr(table, group, {}).items():
            if figure.source not in table.sources:
                raise ParamsError(
                    f"{path.name}: {group}.{entry}.source = {figure.source!r}: not in sources; "
                    "add it there"
                )
    return table


def load_price_table(name: str, folder: Path = FOLDER, key: str = "energy.table") -> PriceTable:
    """Read `<folder>/<name>.yaml` as `read_table` does."""
    return read_table(PriceTable, name, folder, key)
