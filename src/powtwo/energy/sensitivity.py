"""How much the ratio to FP32 depends on what is assumed: convention, table, memory levels.

One assumption varies at a time from the configured ones, under each table that prices the scheme.
Arithmetic and memory have columns of their own; `sum_ratio` adds them on both sides of the ratio.
`ratio` is the one that the assumption changes, and `ratio_of` says of what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from powtwo.energy.counts import CONVENTIONS, Pj, arithmetic_energies, compared
from powtwo.energy.memory import MemoryTable, memory_energies
from powtwo.energy.operation_prices import PriceTable
from powtwo.energy.params import Energy
from powtwo.integer.shapes import LayerShape


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
    varied: dict[str, Sequence[str]] = {"zero_point": CONVENTIONS}
    if memory is not None:
        levels = tuple(memory.memory_levels)
        varied |= {"weights_in": levels, "activations_in": levels}
    return [
        _row(layers, table, memory, params.model_copy(update={name: value}), name)
        for table in tables
        for name, values in varied.items()
        for value in values
    ]


def _row(
    layers: Sequence[LayerShape],
    table: PriceTable,
    memory: MemoryTable | None,
    params: Energy,
    varied: str,
) -> dict[str, Any]:
    arithmetic = arithmetic_energies(layers, table, params.zero_point)
    moved: tuple[Pj, Pj] = (None, None)
    if memory is not None:
        moved = memory_energies(layers, memory, params.weights_in, params.activations_in)
    sums = [
        None if one is None or other is None else one + other
        for one, other in zip(arithmetic, moved, strict=True)
    ]
    row = {
        "varied": varied,
        "value": getattr(params, varied),
        "table": table.name,
        "zero_point": params.zero_point,
        "weights_in": None if memory is None else params.weights_in,
        "activations_in": None if memory is None else params.activations_in,
        **{f"arithmetic_{key}": value for key, value in compared(*arithmetic).items()},
        **{f"memory_{key}": value for key, value in compared(*moved).items()},
        "sum_ratio": compared(*sums)["ratio"],
    }
    if varied == "zero_point":  # moves no bit in memory
        return row | {"ratio_of": "arithmetic", "ratio": row["arithmetic_ratio"]}
    return row | {"ratio_of": "arithmetic and memory together", "ratio": row["sum_ratio"]}
