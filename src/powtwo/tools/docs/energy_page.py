"""The working of the energy figures, term by term, as docs/energy.md shows it.

`inv docs` writes it anew; a test fails where the page is stale.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from powtwo.energy.counts import (
    CONVENTIONS,
    PJ_IN_UJ,
    OpCounts,
    float_counts,
    integer_counts,
    total,
)
from powtwo.energy.price_table import PriceTable
from powtwo.integer.shapes import LayerShape, of_layout
from powtwo.tools.docs import markdown

PAGE = Path(__file__).resolve().parents[4] / "docs" / "energy.md"
LAYOUT = (32, 32, "M", 64, 64, "M", 128, 128, "M", 256, 256, "M")  # the lab's
HIDDEN, CLASSES = (256, 128), 10

Key = tuple[str, str, str, int]  # kind, operation, how it is counted, operations


def working(layers: Sequence[LayerShape], table: PriceTable) -> str:
    """Return Markdown: the last layer, the whole network, and each layer, with every term."""
    last = layers[-1]
    title = f"{last.kind} {last.fan_in} → {last.output_shape[0]}"
    return "\n".join([
        f"Prices of the table `{table.name}` ({table.process_nm} nm), for one image.",
        "",
        f"### The last layer, {title}",
        "",
        *_terms([last], table),
        "",
        f"### The whole network, {sum(layer.macs for layer in layers):,} MACs",
        "",
        *_terms(layers, table),
        "",
        "### Layer by layer",
        "",
        *_layers(layers, table),
    ])  # fmt: skip


def lab_layers() -> list[LayerShape]:
    """List the layers of the lab's network, whose logits are codes."""
    return of_layout(LAYOUT, HIDDEN, CLASSES)


def decimal(value: Fraction) -> str:
    """Return a fraction of a power of ten as the decimal it is, every digit of it."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{exact.normalize():,f}"


def _terms(layers: Sequence[LayerShape], table: PriceTable) -> list[str]:
    """Show FP32 in full, then integers with a column for each convention."""
    exact = _grouped(float_counts(layers))
    columns = [_grouped(integer_counts(layers, name)) for name in CONVENTIONS]
    rows = sorted(dict.fromkeys(key for column in columns for key in column), key=_order)
    head = ["operation", "count", "pJ each"]
    titles = [f"`{name}`, pJ" for name in CONVENTIONS]
    return [
        *_table(["FP32", *head, "pJ"], exact, [exact], table),
        "",
        *_table(["integer", *head, *titles], rows, columns, table),
    ]


def _table(
    head: list[str], keys: Sequence[Key], columns: Sequence[Sequence[Key]], table: PriceTable
) -> list[str]:
    """Make a Markdown table: a row for each term, a column for each way to add them up."""
    rows = []
    for key in keys:
        kind, operation, how, count = key
        price = table[operation]
        energies = [decimal(count * price) if key in column else "–" for column in columns]
        name = kind.replace("_", " ")
        rows.append([name, f"`{operation}`", how, decimal(price), *energies])
    sums = [sum((key[3] * table[key[1]] for key in column), Fraction(0)) for column in columns]
    rows.append(["**total**", "", "", "", *(f"**{decimal(value)}**" for value in sums)])
    return markdown.table(head, rows, words=(0, 1))


def _grouped(counts: Sequence[OpCounts]) -> list[Key]:
    """Add the counts of all layers up by kind and operation; one layer keeps its factors."""
    if len(counts) == 1:
        return [
            (term.kind, term.operation, f"{term.times:,} × {term.each:,} = {term.count:,}",
             term.count)
            for term in counts[0].terms
        ]  # fmt: skip
    sums: Counter[tuple[str, str]] = Counter()
    for layer in counts:
        for term in layer.terms:
            sums[term.kind, term.operation] += term.count
    return [(*names, f"{count:,}", count) for names, count in sums.items()]


def _order(key: Key) -> tuple[int, int]:
    kinds = ("multiply", "accumulate", "bias", "zero_point", "requantize")
    return kinds.index(key[0]), -key[3]


def _layers(layers: Sequence[LayerShape], table: PriceTable) -> list[str]:
    """Make a Markdown table with the energy of each layer, in µJ."""
    columns = [float_counts(layers), *(integer_counts(layers, name) for name in CONVENTIONS)]
    head = ["layer", "kind", "input", "output", "K", "MACs", "FP32, µJ",
            *(f"`{name}`, µJ" for name in CONVENTIONS)]  # fmt: skip
    rows = []
    for position, layer in enumerate(layers):
        energies = [decimal(column[position].energy(table) / PJ_IN_UJ) for column in columns]
        sizes = ["×".join(map(str, shape)) for shape in (layer.input_shape, layer.output_shape)]
        rows.append([str(layer.index), layer.kind, *sizes, f"{layer.fan_in:,}",
                     f"{layer.macs:,}", *energies])  # fmt: skip
    sums = [f"**{decimal(total(column, table) / PJ_IN_UJ)}**" for column in columns]
    macs = f"**{sum(layer.macs for layer in layers):,}**"
    rows.append(["", "**total**", "", "", "", macs, *sums])
    return markdown.table(head, rows, words=(1,))
