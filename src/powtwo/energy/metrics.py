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
    Pj,
    added,
    arithmetic_energies,
    energy_by_kind,
    first_unpriced,
    float_counts,
    integer_counts,
    microjoules,
    ratio,
    total_energy,
)
from powtwo.energy.gating import ZeroShares, gated_energy
from powtwo.energy.memory import ON_CHIP, MemoryTable, load_memory_table, memory_counts
from powtwo.energy.operation_prices import PriceTable, Table, load_price_table
from powtwo.energy.params import Energy
from powtwo.energy.sensitivity import Node, load_node, node_row, sensitivity_rows
from powtwo.integer.shapes import LayerShape

HEADLINE = ("float_uj", "integer_uj", "ratio", "ratio_gated_dense", "ratio_gated_gated",
            "ratio_with_sram", "last_float_pj", "last_integer_pj")  # fmt: skip
TERM_COLUMNS = ("layer", "layer_kind", "arithmetic", "kind", "operation", "times", "each", "count",
                "price_pj", "energy_pj", "part", "table")  # fmt: skip
CONVENTION_COLUMNS = ("layer", "layer_kind", "zero_point", "kind", "energy_pj", "table")


class Total(NamedTuple):
    """What the network costs by one table: a row of plots/totals/<scheme>.csv.

    The network's energies are in µJ, the last layer's in pJ; ratios are float over integer. None
    where a price is missing, or a column is not of the part.

    `ratio` compares dense with dense. Gated hardware skips products with a zero operand: with it,
    `ratio_gated_dense` has integers alone, `ratio_gated_gated` both. `ratio_with_sram` is dense,
    and has memory on both sides, weights and activations in memory.ON_CHIP.
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
    gated_float_uj: float | None = None
    gated_integer_uj: float | None = None
    ratio_gated_dense: float | None = None
    ratio_gated_gated: float | None = None
    sram_float_uj: float | None = None
    sram_integer_uj: float | None = None
    ratio_with_sram: float | None = None
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
    node: Node | None = None  # another process node, for plots/assumptions alone


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
    node = None if params.second_node is None else load_node(params.second_node)
    return Prices(params, tables, levels, node)


def totals(
    layers: Sequence[LayerShape], prices: Prices, zeros: ZeroShares | None = None
) -> list[Total]:
    """Return the arithmetic under each table, the configured one first, then memory.

    Without `zeros` nothing is known of gated hardware.

    Raises:
        UnpricedError: where neither table prices the scheme, or one lacks a price of FP32.
    """
    _pricing_tables(layers, prices)  # raises where none does
    rows = [_arithmetic(layers, table, prices, zeros) for table in prices.tables]
    if prices.memory is not None:
        rows.append(_memory(layers, prices.memory, prices.params))
    return rows


def headline(rows: Sequence[Total]) -> dict[str, float | None]:
    """Return the figures of metrics/energy/<scheme>.json: those of the configured table."""
    return {key: getattr(rows[0], key) for key in HEADLINE}


def assumption_rows(layers: Sequence[LayerShape], prices: Prices) -> list[dict[str, Any]]:
    """Return the rows of `sensitivity_rows` under each table that prices the scheme.

    Another process node has a row at the end.
    """
    tables = _pricing_tables(layers, prices)
    rows = sensitivity_rows(layers, tables, prices.memory, prices.params)
    return rows if prices.node is None else [*rows, node_row(layers, prices.node, prices.params)]


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


def _arithmetic(
    layers: Sequence[LayerShape], table: PriceTable, prices: Prices, zeros: ZeroShares | None
) -> Total:
    convention = prices.params.zero_point
    weighted = [layer for layer in layers if layer.has_weights]
    last = arithmetic_energies(weighted[-1:], table, convention)
    float_pj, integer_pj = dense = arithmetic_energies(layers, table, convention)
    gated_float, gated_integer = _gated(layers, table, convention, zeros)
    sram: tuple[Pj, Pj] = (None, None)
    if prices.memory is not None and ON_CHIP in prices.memory.memory_levels:
        sram = added(dense, memory.memory_energies(layers, prices.memory, ON_CHIP, ON_CHIP))
    return Total(
        part="arithmetic",
        table=table.name,
        zero_point=convention,
        macs=sum(layer.macs for layer in layers),
        float_uj=microjoules(float_pj),
        integer_uj=microjoules(integer_pj),
        ratio=ratio(float_pj, integer_pj),
        gated_float_uj=microjoules(gated_float),
        gated_integer_uj=microjoules(gated_integer),
        ratio_gated_dense=ratio(float_pj, gated_integer),
        ratio_gated_gated=ratio(gated_float, gated_integer),
        sram_float_uj=microjoules(sram[0]),
        sram_integer_uj=microjoules(sram[1]),
        ratio_with_sram=ratio(*sram),
        last_float_pj=None if last[0] is None else float(last[0]),
        last_integer_pj=None if last[1] is None else float(last[1]),
        unpriced=first_unpriced(integer_counts(layers, convention), table),
    )


def _gated(
    layers: Sequence[LayerShape], table: PriceTable, convention: str, zeros: ZeroShares | None
) -> tuple[Pj, Pj]:
    """Return the energy of gated FP32 and gated integers in pJ, None where one is unknown."""
    if zeros is None:
        return None, None
    integer = integer_counts(layers, convention)
    return (
        gated_energy(float_counts(layers), table, zeros.in_float),
        None if first_unpriced(integer, table)
        else gated_energy(integer, table, zeros.in_integers),
    )  # fmt: skip


def _memory(layers: Sequence[LayerShape], table: MemoryTable, params: Energy) -> Total:
    levels = (params.weights_in, params.activations_in)
    float_pj, integer_pj = memory.memory_energies(layers, table, *levels)
    too_large = [
        line for kind in ARITHMETICS for line in memory.too_large(layers, kind, table, *levels)
    ]
    return Total(
        part="memory",
        table=table.name,
        weights_in=params.weights_in,
        activations_in=params.activations_in,
        float_uj=microjoules(float_pj),
        integer_uj=microjoules(integer_pj),
        ratio=ratio(float_pj, integer_pj),
        too_large="; ".join(too_large) or None,
    )
