"""What stage energy@S writes about a scheme: figures, their terms, and the conventions by layer.

No sum mixes prices of two tables. Where the configured table cannot price a scheme under the
configured convention, its figures are null, `unpriced` names the operation that it lacks, and the
table for all widths stands beside it with an FP32 of its own. Where it lacks only what another
convention needs, the figures of that convention alone are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from powtwo.core.params import ParamsError
from powtwo.energy import memory
from powtwo.energy.counts import (
    ARITHMETICS,
    CONVENTIONS,
    PJ_IN_UJ,
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

OF_CONVENTION = ("integer_uj", "ratio", "last_integer_pj")  # None where a price is missing
TERM_COLUMNS = ("layer", "layer_kind", "arithmetic", "kind", "operation", "times", "each", "count",
                "price_pj", "energy_pj", "part", "table")  # fmt: skip
CONVENTION_COLUMNS = ("layer", "layer_kind", "zero_point", "kind", "energy_pj", "table")


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


def scheme_metrics(layers: Sequence[LayerShape], prices: Prices) -> dict[str, Any]:
    """Return the figures of a scheme; those of the configured table stand at the top.

    The last layer's energies are in pJ, the network's in µJ; `ratio` is float over integer.

    Raises:
        UnpricedError: where neither table prices the scheme, or one lacks a price of FP32.
    """
    tables, levels = _pricing_tables(layers, prices), prices.memory
    first, *wider = (
        _arithmetic_metrics(layers, table, prices.params.zero_point) for table in prices.tables
    )
    return {
        **first,
        "all_widths": wider[0] if wider else None,
        "memory": None if levels is None else _memory_metrics(layers, levels, prices.params),
        "sensitivity": sensitivity_rows(layers, tables, levels, prices.params),
    }


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


def _arithmetic_metrics(
    layers: Sequence[LayerShape], table: PriceTable, convention: str
) -> dict[str, Any]:
    exact, integer = float_counts(layers), integer_counts(layers, convention)
    unpriced = first_unpriced(integer, table)
    figures = {name: _figures(layers, table, name) for name in CONVENTIONS}
    return {
        "table": table.name,
        "zero_point": convention,
        "macs": sum(layer.macs for layer in layers),
        **figures[convention],
        "conventions": {
            name: {key: None if unpriced else each[key] for key in OF_CONVENTION}
            for name, each in figures.items()
        },
        "kinds_uj": {
            "float": _microjoules(energy_by_kind(exact, table)),
            "integer": None if unpriced else _microjoules(energy_by_kind(integer, table)),
        },
        "unpriced": unpriced,  # the first operation that the table lacks
    }


def _figures(
    layers: Sequence[LayerShape], table: PriceTable, convention: str
) -> dict[str, float | None]:
    float_pj, integer_pj = arithmetic_energies(layers[-1:], table, convention)
    return {
        **compared(*arithmetic_energies(layers, table, convention)),
        "last_float_pj": float(float_pj),
        "last_integer_pj": None if integer_pj is None else float(integer_pj),
    }


def _memory_metrics(
    layers: Sequence[LayerShape], table: MemoryTable, params: Energy
) -> dict[str, Any]:
    levels = (params.weights_in, params.activations_in)
    moved = {kind: memory_counts(layers, kind, *levels) for kind in ARITHMETICS}
    return {
        "table": table.name,
        "weights_in": params.weights_in,
        "activations_in": params.activations_in,
        **compared(*memory.memory_energies(layers, table, *levels)),
        "kinds_uj": {
            kind: _microjoules(energy_by_kind(counts, table, memory.KINDS))
            for kind, counts in moved.items()
        },
        "bits": {kind: memory.bits_by_kind(counts) for kind, counts in moved.items()},
        "too_large": [
            line for kind in ARITHMETICS for line in memory.too_large(layers, kind, table, *levels)
        ],
    }


def _microjoules(pj: Mapping[str, Fraction]) -> dict[str, float]:
    return {name: float(value / PJ_IN_UJ) for name, value in pj.items()}
