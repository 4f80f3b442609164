"""The report's tables of energy: each convention, each term, and what else the stage wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from powtwo.markup import Cell, links, table
from powtwo.results import MISSING, Results, Row, SchemeResult

# What the page shows elsewhere; whatever else metrics/energy/<scheme>.json holds has a table.
_SHOWN = ("conventions", "float_uj", "integer_uj", "ratio", "last_float_pj", "last_integer_pj",
          "table", "zero_point")  # fmt: skip


def conventions(results: Results) -> str:
    """Show the integer energy of each scheme under each way to subtract zero points, in µJ."""
    names = list(results.best.metrics["energy"]["conventions"])
    rows = []
    for scheme in results.schemes:
        found, file = scheme.metrics["energy"], f"metrics/energy/{scheme.name}.json"
        cells = [Cell(scheme.name), number(found["float_uj"], f"{file}: float_uj")]
        for name in names:
            source = f"{file}: conventions.{name}.integer_uj"
            cells.append(number(found["conventions"][name]["integer_uj"], source))
        rows.append(cells)
    return table(["scheme", "FP32, µJ", *(f"{name}, µJ" for name in names)], rows)


def more(results: Results) -> str:
    """Show every other figure that the stage energy wrote, a line each, a column for each scheme.

    Memory, the sensitivity to conventions and tables, and why a price is missing stand here under
    the keys that they have in the file.
    """
    found = {scheme.name: dict(_leaves(scheme.metrics["energy"])) for scheme in results.schemes}
    keys = dict.fromkeys(key for leaves in found.values() for key in leaves)
    rows = [
        [Cell(key)]
        + [
            _anything(leaves.get(key), f"metrics/energy/{name}.json: {key}")
            for name, leaves in found.items()
        ]
        for key in keys
    ]
    return table(["key", *found], rows)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything that is not shown elsewhere."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if path or key not in _SHOWN:
                yield from _leaves(value, f"{path}.{key}" if path else key)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, values


def _anything(value: Any, source: str) -> Cell:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(value, source)
    return Cell(MISSING if value is None else str(value), None, source)


def working(scheme: SchemeResult, shown: bool) -> str:
    """Show each term of the last layer in float and in integers, with its count and its price."""
    file, found = f"plots/energy/{scheme.name}.csv", scheme.metrics["energy"]
    rows = scheme.tables["energy"]
    last = [row for row in rows if row["layer"] == rows[-1]["layer"]]
    parts = []
    for arithmetic in ("float", "integer"):
        key = f"last_{arithmetic}_pj"
        sources = f"metrics/energy/{scheme.name}.json: {key}"
        total = [Cell("total"), Cell(""), Cell(""), Cell(""), number(found[key], sources)]
        terms = [_term(row, file) for row in last if row["arithmetic"] == arithmetic]
        parts.append(table([arithmetic, "operation", "count", "pJ each", "pJ"], terms, total))
    name, kind = escape(scheme.name), f"layer {last[0]['layer']}, {last[0]['layer_kind']}"
    return (
        f"<details{' open' if shown else ''}><summary>{name}: {kind}</summary>\n"
        f"{''.join(parts)}\n<p>Every other layer: {links([file])}</p></details>"
    )


def _term(row: Row, file: str) -> list[Cell]:
    source = f"{file}: layer {row['layer']}, {row['arithmetic']}, {row['kind']}"
    count = f"{row['times']:,} × {row['each']:,} = {row['count']:,}"
    return [
        Cell(row["kind"].replace("_", " ")),
        Cell(row["operation"]),
        Cell(count, row["count"], source),
        number(row["price_pj"], source),
        number(row["energy_pj"], source),
    ]


def number(value: float | None, source: str) -> Cell:
    """Return a cell of a figure, or of a dash where the stage could not give one."""
    return Cell(MISSING if value is None else f"{value:,.8g}", value, source)
