"""Prices that are polynomials of a bit width, such as QKeras' QTools has them.

A formula prices a family of operations: `int4x8_multiply` is `multiply` at a weight of 4 bits and
a code of 8. What a formula depends on, its operand b, is one number made of the widths:

    constant        0: the price is the coefficient c₀ whatever the widths
    width           the wider of both; of an adder the only one
    geometric_mean  √(w·x): QTools' multiplier of unequal widths
    shifter         s·log10 s with s = √(2^w·x): QTools' shifter, by a weight ±2^k of w bits

Source: QKeras, Apache 2.0, https://github.com/google/qkeras, qkeras/qtools/quantized_operators/
multiplier_impl.py (operands), qkeras/qtools/qenergy/qenergy.py (that price = polynomial of operand)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

KEYS = {"operand", "coefficients", "bits", "source"}
_NAME = re.compile(r"int(\d+)(?:x(\d+))?_(\w+)")
# Roots and logarithms are irrational. A fixed number of digits keeps sums exact and every machine's
# the same; QTools publishes ten digits.
_DIGITS = Context(prec=40)
_PLACES = Decimal("1e-12")


@dataclass(frozen=True)
class Formula:
    """Price = Σ coefficients[i] · b^i in pJ, where both widths lie in `bits`."""

    operand: str  # a key of OPERANDS
    coefficients: tuple[Fraction, ...]  # c₀ first
    bits: tuple[int, int]  # narrowest and widest that the source covers
    source: str  # a key of the table's sources

    def covers(self, widths: tuple[int, int]) -> bool:
        """Tell whether the formula is for operands of these widths."""
        return all(self.bits[0] <= width <= self.bits[1] for width in widths)

    def price(self, widths: tuple[int, int]) -> Fraction:
        """Return the price in pJ at the bits of a weight and of a code."""
        operand = OPERANDS[self.operand](*widths)
        return sum(
            (factor * operand**power for power, factor in enumerate(self.coefficients)), Fraction(0)
        )


def family(operation: str) -> tuple[str, tuple[int, int]] | None:
    """Split `int4x8_multiply` into `multiply` and (4, 8); None where it has no widths."""
    found = _NAME.fullmatch(operation)
    if found is None:
        return None
    weight, code, name = found.groups()
    return name, (int(weight), int(code or weight))


def parse(where: str, entry: Any, sources: Mapping[str, str]) -> Formula:
    """Check a formula of a table; `where` is what an error calls it.

    Raises:
        ValueError: where a key is missing or unknown, or a value is impossible.
    """
    if not isinstance(entry, dict) or set(entry) != KEYS:
        raise ValueError(f"{where} = {entry!r}: must have the keys {', '.join(sorted(KEYS))}")
    if str(entry["operand"]) not in OPERANDS:
        raise ValueError(f"{where}: operand = {entry['operand']!r}: use one of {list(OPERANDS)}")
    if entry["source"] not in sources:
        raise ValueError(f"{where}: source = {entry['source']!r}: not in sources; add it there")
    bits = entry["bits"]
    if not _integers(bits) or len(bits) != 2 or not 0 < bits[0] <= bits[1]:
        raise ValueError(f"{where}: bits = {bits!r}: must be [narrowest, widest], 1 or more")
    factors = entry["coefficients"]
    if not isinstance(factors, list) or not factors:
        raise ValueError(f"{where}: coefficients = {factors!r}: must be a list, c0 first")
    return Formula(
        entry["operand"],
        tuple(number(f"{where}: coefficient", factor) for factor in factors),
        (bits[0], bits[1]),
        entry["source"],
    )


def number(where: str, value: Any) -> Fraction:
    """Return the decimal that a file shows as a fraction, which floats only resemble.

    Raises:
        ValueError: where it is no number of 0 or more; a price that falls with width or is
            negative would make more work cost less.
    """
    try:
        exact = Fraction(str(value))
    except ValueError:
        exact = Fraction(-1)
    if exact < 0 or isinstance(value, bool):
        raise ValueError(f"{where} = {value!r}: must be a number of 0 or more")
    return exact


def _integers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)


def _width(weight: int, code: int) -> Fraction:
    return Fraction(max(weight, code))


def _geometric_mean(weight: int, code: int) -> Fraction:
    return _rounded(Decimal(weight * code).sqrt(_DIGITS))


def _shifter(weight: int, code: int) -> Fraction:
    size = Decimal(2**weight * code).sqrt(_DIGITS)
    return _rounded(size * size.log10(_DIGITS))


def _rounded(value: Decimal) -> Fraction:
    return Fraction(value.quantize(_PLACES, context=_DIGITS))


OPERANDS: Mapping[str, Callable[[int, int], Fraction]] = {
    "constant": lambda _weight, _code: Fraction(0),
    "width": _width,
    "geometric_mean": _geometric_mean,
    "shifter": _shifter,
}
