"""What stage energy@S says of a scheme: each table's figures, memory beside them, sensitivity.

No sum takes prices from two tables. Where the configured table cannot price a scheme under the
configured convention, its figures are null, `unpriced` names the operation that it lacks, and the
table for all widths stands beside it with an FP32 of its own. Where it lacks only what another
convention needs, the figures of that convention alone are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from powtwo.energy import counts as energy
from powtwo.energy import memory, memory_table, price_table
from powtwo.energy import sensitivity as energy_sensitivity
from powtwo.energy.counts import CONVENTIONS, FIGURES, PJ_IN_UJ, OpCounts
from powtwo.energy.memory_table import MemoryTable
from powtwo.energy.params import Energy
from powtwo.energy.price_table import PriceTable, UnpricedError
from powtwo.energy.sensitivity import Assumptions
from powtwo.integer.shapes import LayerShape

ARITHMETICS = ("float", "integer")
BY_CONVENTION = ("layer", "layer_kind", "zero_point", "kind", "energy_pj", "table")


@dataclass(frozen=True)
class Prices:
    """The tables that the parameters name, and the assumptions that come with them."""

    table: PriceTable
    all_widths: PriceTable | None  # None: the same table, or none wanted
    places: MemoryTable | None
    assumed: Assumptions


def load(params: Energy) -> Prices:
    """Read the tables.

    Raises:
        ValueError: where there is no such table or place.
    """
    wider = params.all_widths if params.all_widths != params.table else None
    table = price_table.load(params.table)
    all_widths = None if wider is None else price_table.load(wider, key="energy.all_widths")
    if params.memory is None:
        return Prices(table, all_widths, None, Assumptions(params.zero_point))
    places = memory_table.load(params.memory)
    places.check("energy.weights_in", params.weights_in)
    places.check("energy.activations_in", params.activations_in)
    assumed = Assumptions(params.zero_point, params.weights_in, params.activations_in)
    return Prices(table, all_widths, places, assumed)


def metrics(layers: Sequence[LayerShape], prices: Prices) -> dict[str, Any]:
    """Return the figures of a scheme; those of the configured table stand at the top.

    Raises:
        ValueError: where neither table prices the scheme.
    """
    priced = _pricing(layers, prices)
    return {
        **_arithmetic(layers, prices.table, prices.assumed.zero_point),
        "all_widths": None if prices.all_widths is None else _arithmetic(
            layers, prices.all_widths, prices.assumed.zero_point
        ),
        "memory": _memory(layers, prices),
        "sensitivity": energy_sensitivity.rows(layers, priced, prices.places, prices.assumed),
    }  # fmt: skip


def rows(layers: Sequence[LayerShape], prices: Prices) -> list[tuple[Any, ...]]:
    """Return rows of energy.COLUMNS: the terms under each table that prices them, then memory."""
    counts = energy.float_counts(layers) + energy.integer_counts(layers, prices.assumed.zero_point)
    found = [row for table in _pricing(layers, prices) for row in energy.rows(counts, table)]
    if prices.places is not None:
        moved = [item for kind in ARITHMETICS for item in _moved(layers, prices, kind)]
        found += energy.rows(moved, prices.places.prices, "memory")
    return found


def by_convention(layers: Sequence[LayerShape], prices: Prices) -> list[tuple[Any, ...]]:
    """Return rows of BY_CONVENTION: integer arithmetic of each layer by kind of operation.

    Each table has rows for every convention that it can price.
    """
    found: list[tuple[Any, ...]] = []
    for table in filter(None, (prices.table, prices.all_widths)):
        for convention in CONVENTIONS:
            counts = energy.integer_counts(layers, convention)
            try:
                kinds = [(item.layer, energy.by_kind([item], table)) for item in counts]
            except UnpricedError:
                continue
            found += [
                (layer.index, layer.kind, convention, kind, float(value), table.name)
                for layer, sums in kinds
                for kind, value in sums.items()
            ]
    return found


def _pricing(layers: Sequence[LayerShape], prices: Prices) -> list[PriceTable]:
    """List the tables that price the scheme under the configured convention.

    Raises:
        ValueError: where none does, saying what the last one lacks.
    """
    found = []
    for table in filter(None, (prices.table, prices.all_widths)):
        try:
            energy.metrics(layers, table, prices.assumed.zero_point)
        except UnpricedError as error:
            refused = error
        else:
            found.append(table)
    if not found:
        raise refused
    return found


def _arithmetic(layers: Sequence[LayerShape], table: PriceTable, convention: str) -> dict[str, Any]:
    """Return energy.metrics and the energy by kind; the integers' are None without prices."""
    exact = energy.float_counts(layers)
    try:
        found = energy.metrics(layers, table, convention)
    except UnpricedError as error:
        nothing = dict.fromkeys(FIGURES)
        return {
            "table": table.name,
            "zero_point": convention,
            "macs": sum(layer.macs for layer in layers),
            "float_uj": float(energy.total(exact, table) / PJ_IN_UJ),
            "last_float_pj": float(exact[-1].energy(table)),
            **nothing,
            "conventions": dict.fromkeys(CONVENTIONS, nothing),
            "kinds_uj": {"float": _microjoules(energy.by_kind(exact, table)), "integer": None},
            "unpriced": error.operation,  # the first that the table lacks
        }
    integer = energy.integer_counts(layers, convention)
    kinds = {"float": _microjoules(energy.by_kind(exact, table)),
             "integer": _microjoules(energy.by_kind(integer, table))}  # fmt: skip
    return found | {"kinds_uj": kinds, "unpriced": None}


def _memory(layers: Sequence[LayerShape], prices: Prices) -> dict[str, Any] | None:
    """Return what memory costs, apart from all arithmetic; None where no table is named."""
    if prices.places is None:
        return None
    table = prices.places.prices
    moved = {kind: _moved(layers, prices, kind) for kind in ARITHMETICS}
    sums = {kind: energy.total(counts, table) for kind, counts in moved.items()}
    kinds = {
        kind: _microjoules(energy.by_kind(counts, table, memory.KINDS))
        for kind, counts in moved.items()
    }
    return {
        "table": table.name,
        "weights_in": prices.assumed.weights_in,
        "activations_in": prices.assumed.activations_in,
        "float_uj": float(sums["float"] / PJ_IN_UJ),
        "integer_uj": float(sums["integer"] / PJ_IN_UJ),
        "ratio": float(sums["float"] / sums["integer"]),
        "kinds_uj": kinds,
        "bits": {kind: memory.bits(counts) for kind, counts in moved.items()},
        "too_large": [
            line for counts in moved.values() for line in memory.too_large(counts, prices.places)
        ],
    }


def _moved(layers: Sequence[LayerShape], prices: Prices, arithmetic: str) -> list[OpCounts]:
    _, weights_in, activations_in = prices.assumed
    assert weights_in is not None
    assert activations_in is not None
    return memory.counts(layers, arithmetic, weights_in, activations_in)


def _microjoules(values: Mapping[str, Fraction]) -> dict[str, float]:
    return {name: float(value / PJ_IN_UJ) for name, value in values.items()}
