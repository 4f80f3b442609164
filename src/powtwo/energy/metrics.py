"""What stage energy@S writes about a scheme: totals, their terms, and what assumptions do to them.

No sum mixes prices of two tables. Where the configured table cannot price a scheme under the
configured convention, its figures are null, `unpriced` names the operation that it lacks, and the
table for all widths has a row of its own, with its own FP32. Where it lacks only what another
convention needs, the figures of that convention alone are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from powtwo.core.params import ParamsError
from powtwo.energy import memory
from powtwo.energy.counts import (
    ARITHMETICS,
    CONVENTIONS,
    OpCounts,
    arithmetic_energies,
    compared,
    energy_by_kind,
    first_unpriced,
    float_counts,
    integer_counts,
    total_energy,
)
from powtwo.energy.memory import MemoryTable, load_memory_table, memory_counts
from powtwo.energy.operation_prices import PriceTable, Table, load_price_table
from powtwo.energy.params import Energy
from powtwo.energy.sensitivity import sensitivity_rows
from powtwo.integer.shapes import LayerShape

HEADLINE = ("float_uj", "integer_uj", "ratio", "last_float_pj", "last_integer_pj")
TERM_COLUMNS = ("layer", "layer_kind", "arithmetic", "kind", "operation", "times", "each", "count",
                "price_pj", "energy_pj", "part", "table")  # fmt: skip
CONVENTION_COLUMNS = ("layer", "layer_kind", "zero_point", "kind", "energy_pj", "table")


class Total(NamedTuple):
    """What the network costs by one table: a row of plots/totals/<scheme>.csv.

    The network's energies are in µJ, the last layer's in pJ; `ratio` is float over integer. None
    where a price is missing, or a column is not of the part.
    """

    part: str  # arithmetic or memory
    table: str
    zero_point: str | None = None  # the configured convention
    weights_in: str | None = None
    activations_in: str | None = None
    macs: int | None = None
    float_uj: float | None = None
    integer_uj: float | None = None
    ratio: float | None = None
    last_float_pj: float | None = None
    last_integer_pj: float | None = None
    unpriced: str | None = None  # the first operation that the table lacks
    too_large: str | None = None  # what does not fit its memory level


@dataclass(frozen=True)
class Prices:
    """The parameters and the tables that they name."""

    params: Energy
    tables: Sequence[PriceTable]  # of operations: the configured one, then that for all widths
    memory: MemoryTable | None


def load_prices(params: Energy) -> Prices:
    """Read the tables.

    Raises:
        ParamsError: where there is no such table or memory level.
    """
    tables, levels = [load_price_table(params.table)], None
    if params.all_widths not in (None, params.table):
        tables.append(load_price_table(params.all_widths, key="energy.all_widths"))
    if params.memory is not None:
        levels = load_memory_table(params.memory)
        for key in ("weights_in", "activations_in"):
            if (level := getattr(params, key)) not in levels.memory_levels:
                raise ParamsError(
                    f"energy.{key} = {level}: no memory of {levels.name}; name one of "
                    f"{', '.join(levels.memory_levels)}"
                )
    return Prices(params, tables, levels)


def totals(layers: Sequence[LayerShape], prices: Prices) -> list[Total]:
    """Return the arithmetic under each table, the configured one first, then memory.

    Raises:
        UnpricedError: where neither table prices the scheme, or one lacks a price of FP32.
    """
    _pricing_tables(layers, prices)  # raises where none does
    rows = [_arithmetic(layers, table, prices.params.zero_point) for table in prices.tables]
    if prices.memory is not None:
        rows.append(_memory(layers, prices.memory, prices.params))
    return rows


def headline(rows: Sequence[Total]) -> dict[str, float | None]:
    """Return the figures of metrics/energy/<scheme>.json: those of the configured table."""
    return {key: getattr(rows[0], key) for key in HEADLINE}


def assumption_rows(layers: Sequence[LayerShape], prices: Prices) -> list[dict[str, Any]]:
    """Return the rows of `sensitivity_rows` under each table that prices the scheme."""
    tables = _pricing_tables(layers, prices)
    return sensitivity_rows(layers, tables, prices.memory, prices.params)


def term_rows(layers: Sequence[LayerShape], prices: Prices) -> list[tuple[Any, ...]]:
    """Return rows of TERM_COLUMNS: the terms under each table that prices them, then memory."""
    params = prices.params
    arithmetic = float_counts(layers) + integer_counts(layers, params.zero_point)
    parts: list[tuple[str, Table, list[OpCounts]]] = [
        ("arithmetic", table, arithmetic) for table in _pricing_tables(layers, prices)
    ]
    if prices.memory is not None:
        levels = (params.weights_in, params.activations_in)
        parts += [
            ("memory", prices.memory, memory_counts(layers, each, *levels)) for each in ARITHMETICS
        ]
    return [
        (item.layer.index, item.layer.kind, item.arithmetic, item.kind, item.operation,
         item.times, item.each, item.count, float(table[item.operation]),
         float(item.count * table[item.operation]), part, table.name)
        for part, table, counts in parts
        for item in counts
    ]  # fmt: skip


def convention_rows(layers: Sequence[LayerShape], prices: Prices) -> list[tuple[Any, ...]]:
    """Return rows of CONVENTION_COLUMNS: integer arithmetic of each layer by kind of operation.

    Each table has rows for every convention that it can price.
    """
    return [
        (layer.index, layer.kind, convention, kind, float(pj), table.name)
        for table in prices.tables
        for convention in CONVENTIONS
        if not first_unpriced(integer_counts(layers, convention), table)
        for layer in layers
        for kind, pj in energy_by_kind(integer_counts([layer], convention), table).items()
    ]


def _pricing_tables(layers: Sequence[LayerShape], prices: Prices) -> list[PriceTable]:
    """List the tables that price the scheme under the configured convention.

    Raises:
        UnpricedError: where none does, saying what the last one lacks.
    """
    counts = integer_counts(layers, prices.params.zero_point) + float_counts(layers)
    tables = [table for table in prices.tables if not first_unpriced(counts, table)]
    if not tables:
        total_energy(counts, prices.tables[-1])  # raises
    return tables


def _arithmetic(layers: Sequence[LayerShape], table: PriceTable, convention: str) -> Total:
    float_pj, integer_pj = arithmetic_energies(layers[-1:], table, convention)
    whole = compared(*arithmetic_energies(layers, table, convention))
    return Total(
        part="arithmetic",
        table=table.name,
        zero_point=convention,
        macs=sum(layer.macs for layer in layers),
        float_uj=whole["float_uj"],
        integer_uj=whole["integer_uj"],
        ratio=whole["ratio"],
        last_float_pj=None if float_pj is None else float(float_pj),
        last_integer_pj=None if integer_pj is None else float(integer_pj),
        unpriced=first_unpriced(integer_counts(layers, convention), table),
    )


def _memory(layers: Sequence[LayerShape], table: MemoryTable, params: Energy) -> Total:
    levels = (params.weights_in, params.activations_in)
    whole = compared(*memory.memory_energies(layers, table, *levels))
    too_large = [
        line for kind in ARITHMETICS for line in memory.too_large(layers, kind, table, *levels)
    ]
    return Total(
        part="memory",
        table=table.name,
        weights_in=params.weights_in,
        activations_in=params.activations_in,
        float_uj=whole["float_uj"],
        integer_uj=whole["integer_uj"],
        ratio=whole["ratio"],
        too_large="; ".join(too_large) or None,
    )
