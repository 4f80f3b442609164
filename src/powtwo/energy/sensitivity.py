"""How much the ratio to FP32 depends on what is assumed: convention, sums, table, memory levels.

One assumption varies at a time from the configured ones, under each table that prices the scheme.
Arithmetic and memory have columns of their own; `sum_ratio` adds them on both sides of the ratio.
`ratio` is the one that the assumption changes, and `ratio_of` says of what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from powtwo.energy.adder_tree import tree_sums
from powtwo.energy.counts import (
    CONVENTIONS,
    Pj,
    Sums,
    accumulator_sums,
    added,
    arithmetic_energies,
    compared,
)
from powtwo.energy.memory import MemoryTable, load_memory_table, memory_energies
from powtwo.energy.operation_prices import PriceTable, load_price_table
from powtwo.energy.params import Energy
from powtwo.integer.shapes import LayerShape

# How products are added; the first is the configured way.
SUMS: Mapping[str, Sums] = {"accumulator": accumulator_sums, "tree": tree_sums}


def sensitivity_rows(
    layers: Sequence[LayerShape],
    tables: Sequence[PriceTable],
    memory: MemoryTable | None,
    params: Energy,
) -> list[dict[str, Any]]:
    """Return a row for each table and each value of each assumption.

    The tables price the scheme under the configured convention. The keys are the columns of
    plots/assumptions after the scheme. What needs a price that the table lacks is None, and so is
    everything about memory without a memory table.
    """
    rows = []
    for table in tables:
        for name, values in _varied(memory).items():
            for value in values:
                changed = params.model_copy(update={name: value} if name != "sums" else {})
                sums = SUMS[value] if name == "sums" else accumulator_sums
                row = _energies(layers, table, memory, changed, sums)
                rows.append({"varied": name, "value": value} | _with_ratio(row, name))
    return rows


@dataclass(frozen=True)
class Node:
    """Another process node: its operations and its memory, from tables of one name."""

    operations: PriceTable
    memory: MemoryTable


def load_node(name: str) -> Node:
    """Read the two tables of a node.

    Raises:
        ParamsError: where there is none of this name.
    """
    key = "energy.second_node"
    return Node(load_price_table(name, key=key), load_memory_table(name, key=key))


def node_row(layers: Sequence[LayerShape], node: Node, params: Energy) -> dict[str, Any]:
    """Return the row of another process node, of its own FP32; None where it lacks a price."""
    levels = {params.weights_in, params.activations_in}
    memory = node.memory if levels <= node.memory.memory_levels.keys() else None
    row = _energies(layers, node.operations, memory, params, accumulator_sums)
    return {"varied": "process", "value": f"{node.operations.process_nm}nm"} | _with_ratio(
        row, "process"
    )


def _varied(memory: MemoryTable | None) -> dict[str, Sequence[str]]:
    """Return the values of each assumption: of a parameter, and how products are added."""
    assumptions: dict[str, Sequence[str]] = {"zero_point": CONVENTIONS, "sums": tuple(SUMS)}
    if memory is None:
        return assumptions
    levels = tuple(memory.memory_levels)
    return assumptions | {"weights_in": levels, "activations_in": levels}


def _energies(
    layers: Sequence[LayerShape],
    table: PriceTable,
    memory: MemoryTable | None,
    params: Energy,
    sums: Sums,
) -> dict[str, Any]:
    arithmetic = arithmetic_energies(layers, table, params.zero_point, sums)
    moved: tuple[Pj, Pj] = (None, None)
    if memory is not None:
        moved = memory_energies(layers, memory, params.weights_in, params.activations_in)
    return {
        "table": table.name,
        "zero_point": params.zero_point,
        "weights_in": None if memory is None else params.weights_in,
        "activations_in": None if memory is None else params.activations_in,
        **{f"arithmetic_{key}": value for key, value in compared(*arithmetic).items()},
        **{f"memory_{key}": value for key, value in compared(*moved).items()},
        "sum_ratio": compared(*added(arithmetic, moved))["ratio"],
    }


def _with_ratio(row: dict[str, Any], varied: str) -> dict[str, Any]:
    """Add the ratio that the assumption is about: with memory where it moves bits."""
    if varied in {"zero_point", "sums", "process"}:
        return row | {"ratio_of": "arithmetic", "ratio": row["arithmetic_ratio"]}
    return row | {"ratio_of": "arithmetic and memory together", "ratio": row["sum_ratio"]}
