"""How much the ratio to FP32 depends on what is assumed: convention, table, places in memory.

One assumption moves at a time, from the configured ones, under each table that prices the scheme.
Arithmetic and memory are told apart; `sum_ratio` adds them, on both sides of the ratio. `ratio` is
the one that the assumption moves, and `ratio_of` says of what it is: arithmetic under another
convention, arithmetic and memory together where something lies elsewhere. A convention that a table
cannot price has its row, with None for what depends on the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from powtwo.energy import counts as energy
from powtwo.energy import memory
from powtwo.energy.counts import CONVENTIONS, PJ_IN_UJ
from powtwo.energy.memory_table import MemoryTable
from powtwo.energy.price_table import PriceTable, UnpricedError
from powtwo.integer.shapes import LayerShape

# Keys of a row.
SENSITIVITY = ("varied", "value", "table", "zero_point", "weights_in", "activations_in",
               "arithmetic_float_uj", "arithmetic_integer_uj", "arithmetic_ratio",
               "memory_float_uj", "memory_integer_uj", "memory_ratio", "sum_ratio",
               "ratio_of", "ratio")  # fmt: skip

ARITHMETIC, TOGETHER = "arithmetic", "arithmetic and memory together"  # what a ratio is of


class Assumptions(NamedTuple):
    """What the ratio depends on beside network and table; places are None without memory."""

    zero_point: str
    weights_in: str | None = None
    activations_in: str | None = None


def rows(
    layers: Sequence[LayerShape],
    tables: Sequence[PriceTable],
    places: MemoryTable | None,
    base: Assumptions,
) -> list[dict[str, Any]]:
    """Return a row of SENSITIVITY for each table and each value of each assumption.

    Args:
        layers: what computes, in order.
        tables: that price the scheme under the configured convention.
        places: the table of memory, None for arithmetic alone.
        base: the configured assumptions.

    Raises:
        ValueError: where a table lacks a price of FP32.
    """
    varied: dict[str, Sequence[str]] = {"zero_point": CONVENTIONS}
    if places is not None:
        varied |= dict.fromkeys(("weights_in", "activations_in"), tuple(places.places))
    return [
        _row(layers, table, places, base._replace(**{name: value}), (name, value))
        for table in tables
        for name, values in varied.items()
        for value in values
    ]


def _row(
    layers: Sequence[LayerShape],
    table: PriceTable,
    places: MemoryTable | None,
    at: Assumptions,
    varied: tuple[str, str],
) -> dict[str, Any]:
    exact = energy.total(energy.float_counts(layers), table)
    integer = _integer(layers, table, at.zero_point)
    moved = _moved(layers, places, at)
    arithmetic = _compared(exact, integer)
    both = _compared(_sum(exact, moved[0]), _sum(integer, moved[1]))
    told = (ARITHMETIC, arithmetic[2]) if varied[0] == "zero_point" else (TOGETHER, both[2])
    values = (*varied, table.name, *at, *arithmetic, *_compared(*moved), both[2], *told)
    return dict(zip(SENSITIVITY, values, strict=True))


def _integer(layers: Sequence[LayerShape], table: PriceTable, convention: str) -> Fraction | None:
    """Return what arithmetic costs in integers, in pJ; None where the table lacks a price."""
    try:
        return energy.total(energy.integer_counts(layers, convention), table)
    except UnpricedError:
        return None


def _moved(
    layers: Sequence[LayerShape], places: MemoryTable | None, at: Assumptions
) -> tuple[Fraction | None, Fraction | None]:
    """Return what memory costs in float and in integers, in pJ; None without places."""
    if places is None or at.weights_in is None or at.activations_in is None:
        return None, None
    exact, integer = (
        energy.total(memory.counts(layers, kind, at.weights_in, at.activations_in), places.prices)
        for kind in ("float", "integer")
    )
    return exact, integer


def _sum(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return None if one is None or other is None else one + other


def _compared(exact: Fraction | None, integer: Fraction | None) -> tuple[float | None, ...]:
    """Return float µJ, integer µJ and their ratio, each None where it is unknown."""
    ratio = None if exact is None or integer is None else float(exact / integer)
    return _microjoules(exact), _microjoules(integer), ratio


def _microjoules(value: Fraction | None) -> float | None:
    return None if value is None else float(value / PJ_IN_UJ)
