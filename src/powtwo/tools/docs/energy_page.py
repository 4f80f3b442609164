"""The generated passages of docs/energy.md: prices, memory, networks, sensitivity, working."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from powtwo.energy.counts import (
    CONVENTIONS,
    KINDS,
    OpCounts,
    float_counts,
    integer_counts,
    total_energy,
)
from powtwo.energy.memory import MemoryTable, load_memory_table
from powtwo.energy.metrics import Total, assumption_rows, load_prices, totals
from powtwo.energy.operation_prices import PriceTable, load_price_table
from powtwo.energy.params import Energy
from powtwo.integer.shapes import LayerShape, of_layout
from powtwo.report import systems
from powtwo.tools.docs import markdown

PAGE = Path(__file__).resolve().parents[4] / "docs" / "energy.md"
LAYOUT = (32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M")  # the lab's
HIDDEN, CLASSES = (256, 128), 10
CONFIGURED = Energy(table="lab", zero_point="per_use", all_widths="qtools", memory="horowitz")
SHIFT = {"weight_kind": "power_of_two", "weight_code_bits": 4}
OPERATIONS = ("fp32_multiply", "fp32_add", "int32_add", "int16_add", "int12_add", "int8_add",
              "int4_add", "int8_multiply", "int4x8_multiply", "int4_multiply", "int4x8_shift",
              "int4_shift", "int2x8_mux", "int2x4_mux", "int1x8_xor", "int4x1_and",
              "shift")  # fmt: skip
UNKNOWN = "–"


def lab_layers(accumulator_bits: int = 32, **changes: Any) -> list[LayerShape]:
    """List the layers of the lab's network, whose logits are codes, with `of_layout`'s options."""
    layers = of_layout(LAYOUT, HIDDEN, CLASSES, **changes)
    return [replace(layer, accumulator_bits=accumulator_bits) for layer in layers]


NETWORKS: Mapping[str, Sequence[LayerShape]] = {
    "8-bit weights and codes": lab_layers(),
    "4-bit weights, 8-bit codes": lab_layers(weights={"weight_bits": 4}),
    "4-bit weights and codes": lab_layers(bits=4),
    "4-bit 0 or ±2^k, 8-bit codes": lab_layers(weights=SHIFT),
    "the same, z = 0, int32 logits": lab_layers(weights=SHIFT, zero_point=0, logits="int32"),
    "−1, 0, 1, 4-bit codes, z = 0, 12-bit sums": lab_layers(
        12, weights={"weight_bits": 2}, bits=4, zero_point=0, logits="int32"
    ),
}


# The networks that the table of assumptions has room for.
ASSUMED = ("8-bit weights and codes", "the same, z = 0, int32 logits",
           "−1, 0, 1, 4-bit codes, z = 0, 12-bit sums")  # fmt: skip
SHORT = {"the same, z = 0, int32 logits": "4-bit 0 or ±2^k, 8-bit codes, z = 0"}


def passages() -> dict[str, str]:
    """Return the text between each pair of markers of docs/energy.md."""
    prices = load_prices(CONFIGURED)
    rows = {name: totals(layers, prices) for name, layers in NETWORKS.items()}
    assumed = {SHORT.get(name, name): assumption_rows(NETWORKS[name], prices) for name in ASSUMED}
    lines = {
        "caveat": [systems.read().markdown],
        "systems": silicon(),
        "operations": operations(prices.tables),
        "memory-levels": memory_levels(load_memory_table("horowitz")),
        "networks": networks(rows),
        "sensitivity": sensitivity(assumed),
        "working": working(lab_layers(), load_price_table("lab")),
    }
    return {name: "\n".join(text) for name, text in lines.items()}


def operations(tables: Sequence[PriceTable]) -> list[str]:
    """Show each table's price of an operation in pJ, to six digits."""
    rows = []
    for name in OPERATIONS:
        prices = [table.get(name) for table in tables]
        cells = [UNKNOWN if price is None else f"{float(price):.6g}" for price in prices]
        rows.append([f"`{name}`", *cells])
    return markdown.table(["operation", *(f"`{table.name}`, pJ" for table in tables)], rows)


def memory_levels(table: MemoryTable) -> list[str]:
    """Show the memories of a table, exactly."""
    titles, rows = ["memory", "capacity, KiB", "64 bits, pJ", "a bit, pJ", "source"], []
    for name, level in table.memory_levels.items():
        capacity = UNKNOWN if level.capacity_kib is None else f"{level.capacity_kib:,}"
        bit = table[f"{name}_bit"]
        rows.append([f"`{name}`", capacity, decimal(64 * bit), decimal(bit), level.source])
    return markdown.table(titles, rows)


def networks(parts: Mapping[str, Sequence[Total]]) -> list[str]:
    """Show the networks' arithmetic in each table, and their memory."""
    first = next(iter(parts.values()))
    rows = [["FP32", *(cell for part in first for cell in (f"{part.float_uj:.3f}", "1")), "1"]]
    for name, of_network in parts.items():
        cells = [_cell(value, form) for part in of_network
                 for value, form in ((part.integer_uj, ".3f"), (part.ratio, ".1f"))]  # fmt: skip
        rows.append([name, *cells, _cell(of_network[1].ratio_with_sram, ".1f")])
    energies = (*(f"arithmetic, `{part.table}`" for part in first[:2]), "memory")
    titles = [title for energy in energies for title in (f"{energy}, µJ", "ratio")]
    with_sram = f"ratio with SRAM, `{first[1].table}`"
    return markdown.table(["network", *titles, with_sram], rows)


def silicon() -> list[str]:
    """Show published chips, each with its source."""
    rows = [
        [each.name, each.what, f"{each.energy_uj:g}", f"{each.accuracy:.0%}",
         f"[{each.source}]({each.url})"]
        for each in systems.read().systems
    ]  # fmt: skip
    titles = ["system", "what", "µJ an image", "accuracy", "source"]
    return markdown.table(titles, rows, words=(0, 1, 4))


def sensitivity(assumed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Show the ratio to FP32 as one assumption varies, a column for each network."""
    ratios: defaultdict[tuple[str, ...], dict[str, float | None]] = defaultdict(dict)
    for network, of_network in assumed.items():
        for row in of_network:
            title = f"{row['ratio_of']}, `{row['table']}`"
            ratios[title, f"`{row['varied']}`", f"`{row['value']}`"][network] = row["ratio"]
    rows = [
        [*choice, *(_cell(by_network.get(name), ".1f") for name in assumed)]
        for choice, by_network in ratios.items()
    ]
    return markdown.table(["ratio of", "varied", "value", *assumed], rows)


def working(layers: Sequence[LayerShape], table: PriceTable) -> list[str]:
    """Show every term of the last layer, and of the whole network."""
    last = layers[-1]
    return [
        f"Prices of the table `{table.name}` ({table.process_nm} nm), for one image.",
        "",
        f"### The last layer, {last.kind} {last.fan_in} → {last.output_shape[0]}",
        "",
        *_terms([last], table),
        "",
        f"### The whole network, {sum(layer.macs for layer in layers):,} MACs",
        "",
        *_terms(layers, table),
    ]


def last_layer() -> list[str]:
    """Show every term of the lab's last layer."""
    return _terms([lab_layers()[-1]], load_price_table("lab"))


def decimal(value: Fraction) -> str:
    """Return a fraction of a power of ten as the decimal it is, every digit of it."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{exact.normalize():,f}"


def _terms(layers: Sequence[LayerShape], table: PriceTable) -> list[str]:
    """Show FP32 in full, then integers with a column for each convention."""
    exact = {"pJ": float_counts(layers)}
    integer = {f"`{name}`, pJ": integer_counts(layers, name) for name in CONVENTIONS}
    return [*_term_table("FP32", exact, table), "", *_term_table("integer", integer, table)]


def _term_table(
    title: str, columns: Mapping[str, Sequence[OpCounts]], table: PriceTable
) -> list[str]:
    """Return a row for each term, with a column of energies for each way to count."""
    terms = [_add_up(counts) for counts in columns.values()]
    workings = {term: working for each in terms for term, working in each.items()}
    rows = []
    for term in sorted(workings, key=lambda term: (KINDS.index(term[0]), -term[2])):
        kind, operation, count = term
        price = table[operation]
        energies = [decimal(count * price) if term in each else UNKNOWN for each in terms]
        cells = (kind.replace("_", " "), f"`{operation}`", workings[term], decimal(price))
        rows.append([*cells, *energies])
    sums = [f"**{decimal(total_energy(counts, table))}**" for counts in columns.values()]
    rows.append(["**total**", "", "", "", *sums])
    return markdown.table([title, "operation", "count", "pJ each", *columns], rows, words=(0, 1))


def _add_up(counts: Sequence[OpCounts]) -> dict[tuple[str, str, int], str]:
    """Return kind, operation and count of each term, and how it counts: factors of one layer."""
    if counts[0].layer is counts[-1].layer:
        return {
            (x.kind, x.operation, x.count): f"{x.times:,} × {x.each:,} = {x.count:,}"
            for x in counts
        }
    sums: Counter[tuple[str, str]] = Counter()
    for item in counts:
        sums[item.kind, item.operation] += item.count
    return {(*names, count): f"{count:,}" for names, count in sums.items()}


def _cell(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)
