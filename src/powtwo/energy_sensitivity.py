"""How much the ratio to FP32 depends on what is assumed: convention, table, places in memory.

One assumption moves at a time, from the configured ones, under each table that prices the scheme.
Arithmetic and memory are told apart; `sum_ratio` alone adds them, on both sides of the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from powtwo import energy, memory
from powtwo.energy import CONVENTIONS, PJ_IN_UJ
from powtwo.energy_common import SENSITIVITY
from powtwo.memory_table import MemoryTable
from powtwo.price_table import PriceTable
from powtwo.shapes import LayerShape


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
        tables: that price the scheme.
        places: the table of memory, None for arithmetic alone.
        base: the configured assumptions.

    Raises:
        ValueError: where a table lacks a price.
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
    integer = energy.total(energy.integer_counts(layers, at.zero_point), table)
    moved = _moved(layers, places, at)
    both = None if moved is None else (exact + moved[0], integer + moved[1])
    values = (*varied, table.name, *at, *_compared((exact, integer)), *_compared(moved),
              _compared(both)[2])  # fmt: skip
    return dict(zip(SENSITIVITY, values, strict=True))


def _moved(
    layers: Sequence[LayerShape], places: MemoryTable | None, at: Assumptions
) -> tuple[Fraction, Fraction] | None:
    """Return what memory costs in float and in integers, in pJ."""
    if places is None or at.weights_in is None or at.activations_in is None:
        return None
    exact, integer = (
        energy.total(memory.counts(layers, kind, at.weights_in, at.activations_in), places.prices)
        for kind in ("float", "integer")
    )
    return exact, integer


def _compared(pair: tuple[Fraction, Fraction] | None) -> tuple[float | None, ...]:
    """Return float µJ, integer µJ and their ratio."""
    if pair is None:
        return None, None, None
    exact, integer = pair
    return float(exact / PJ_IN_UJ), float(integer / PJ_IN_UJ), float(exact / integer)
