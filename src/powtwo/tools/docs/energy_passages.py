"""What docs/energy.md shows of tables, memory and sensitivity, for the lab's network.

`inv docs` writes it anew; a test fails where the page is stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from powtwo.energy import memory
from powtwo.energy import metrics as energy_metrics
from powtwo.energy.memory_table import MemoryTable
from powtwo.energy.metrics import Prices
from powtwo.energy.params import Energy
from powtwo.energy.price_table import PriceTable, UnpricedError
from powtwo.integer.shapes import LayerShape, of_layout
from powtwo.tools.docs import energy_page, markdown
from powtwo.tools.docs.energy_page import CLASSES, HIDDEN, LAYOUT, decimal

CONFIGURED = Energy(table="lab", zero_point="per_use", all_widths="qtools", memory="horowitz")
SHIFT = {"weight_kind": "power_of_two", "weight_code_bits": 4}
NETWORKS: Mapping[str, Sequence[LayerShape]] = {
    "8-bit weights and codes": of_layout(LAYOUT, HIDDEN, CLASSES),
    "4-bit weights, 8-bit codes": of_layout(LAYOUT, HIDDEN, CLASSES, weights={"weight_bits": 4}),
    "4-bit weights and codes": of_layout(LAYOUT, HIDDEN, CLASSES, bits=4),
    "4-bit 0 or ±2^k, 8-bit codes": of_layout(LAYOUT, HIDDEN, CLASSES, weights=SHIFT),
    "the same, z = 0, int32 logits": of_layout(
        LAYOUT, HIDDEN, CLASSES, weights=SHIFT, zero_point=0, logits="int32"
    ),
}  # fmt: skip
OPERATIONS = ("fp32_multiply", "fp32_add", "int32_add", "int8_add", "int4_add", "int8_multiply",
              "int4x8_multiply", "int4_multiply", "int2x8_multiply", "int4x8_shift", "int4_shift",
              "shift")  # fmt: skip


def passages() -> dict[str, str]:
    """Return the text between each pair of markers of docs/energy.md."""
    prices = energy_metrics.load(CONFIGURED)
    assert prices.all_widths is not None
    assert prices.places is not None
    return {
        "operations": operations([prices.table, prices.all_widths]),
        "places": places(prices.places),
        "networks": networks(prices),
        "sensitivity": sensitivity(prices),
        "working": energy_page.working(energy_page.lab_layers(), prices.table),
    }


def operations(tables: Sequence[PriceTable]) -> str:
    """Return Markdown: what each table asks for an operation, in pJ, six digits of it."""
    titles = ["operation", *(f"`{table.name}`, pJ" for table in tables)]
    rows = ([f"`{name}`", *(_price(table, name) for table in tables)] for name in OPERATIONS)
    return "\n".join(markdown.table(titles, rows))


def places(table: MemoryTable) -> str:
    """Return Markdown: the memories of a table, exactly."""
    titles, rows = ["place", "holds, KiB", "64 bits, pJ", "a bit, pJ", "source"], []
    for name, place in table.places.items():
        capacity = "–" if place.capacity_kib is None else f"{place.capacity_kib:,}"
        prices = (decimal(64 * place.bit.pj), decimal(place.bit.pj))
        rows.append([f"`{name}`", capacity, *prices, place.bit.source])
    return "\n".join(markdown.table(titles, rows))


def networks(prices: Prices) -> str:
    """Return Markdown: arithmetic in each table and memory, side by side and never added."""
    wider = prices.all_widths
    assert wider is not None
    tables = (prices.table, wider)
    titles = [title for table in tables for title in (f"`{table.name}`, µJ", "ratio")]
    found = {name: energy_metrics.metrics(layers, prices) for name, layers in NETWORKS.items()}
    first = next(iter(found.values()))
    both = [cell for _ in tables for cell in (_uj(first["float_uj"]), "1")]
    rows = [["FP32", *both]]
    for name, one in found.items():
        cells = [cell for table in (one, one["all_widths"]) for cell in _energy(table)]
        rows.append([name, *cells])
    moved = [_moved("FP32", first["memory"], "float")]
    moved += [_moved(name, one["memory"], "integer") for name, one in found.items()]
    kinds = (f"{kind.replace('_', ' ')}, µJ" for kind in memory.KINDS)
    lines = [
        *markdown.table(["arithmetic", *titles], rows), "",
        *markdown.table(["memory", *kinds, "all, µJ", "ratio"], moved), "",
        *(f"- {line}" for line in first["memory"]["too_large"]),
    ]  # fmt: skip
    return "\n".join(lines).rstrip()


def sensitivity(prices: Prices) -> str:
    """Return Markdown: the ratio to FP32 as one assumption moves, a column for each network."""
    wider = prices.all_widths
    assert wider is not None
    found = [energy_metrics.metrics(layers, prices)["sensitivity"] for layers in NETWORKS.values()]
    shown = []
    for table, part, varied in (
        (prices.table.name, "arithmetic", "zero_point"),
        (wider.name, "arithmetic", "zero_point"),
        (wider.name, "memory", "weights_in"),
        (wider.name, "sum", "weights_in"),
        (wider.name, "memory", "activations_in"),
        (wider.name, "sum", "activations_in"),
    ):
        of = {"arithmetic": f"arithmetic, `{table}`", "memory": "memory",
              "sum": f"arithmetic (`{table}`) + memory"}[part]  # fmt: skip
        # Every network is priced in the table for all widths, so its rows tell every value.
        for value in (row["value"] for row in found[0] if _is(row, wider.name, varied)):
            cells = [_ratio(rows, table, varied, value, f"{part}_ratio") for rows in found]
            shown.append([of, f"`{varied}`", f"`{value}`", *cells])
    return "\n".join(markdown.table(["ratio of", "varied", "value", *NETWORKS], shown))


def _is(row: Mapping[str, Any], table: str, varied: str) -> bool:
    return bool(row["table"] == table and row["varied"] == varied)


def _ratio(rows: Sequence[Mapping[str, Any]], table: str, varied: str, value: str, key: str) -> str:
    found = [row[key] for row in rows if _is(row, table, varied) and row["value"] == value]
    return f"{found[0]:.1f}" if found and found[0] is not None else "–"


def _price(table: PriceTable, operation: str) -> str:
    try:
        return f"{float(table[operation]):.6g}"
    except UnpricedError:
        return "–"


def _energy(found: Mapping[str, Any]) -> tuple[str, str]:
    if found["integer_uj"] is None:
        return "–", "–"
    return _uj(found["integer_uj"]), f"{found['ratio']:.1f}"


def _moved(name: str, found: Mapping[str, Any], arithmetic: str) -> list[str]:
    kinds = (_uj(found["kinds_uj"][arithmetic][kind]) for kind in memory.KINDS)
    ratio = "1" if arithmetic == "float" else f"{found['ratio']:.1f}"
    return [name, *kinds, _uj(found[f"{arithmetic}_uj"]), ratio]


def _uj(value: float) -> str:
    return f"{value:.3f}"
