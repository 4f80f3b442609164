"""The report's tables of energy: each convention, each term, and what else the stage wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from powtwo.report.markup import Cell, links, table
from powtwo.report.results import MISSING, Results, Row, SchemeResult, shown

# What the page shows elsewhere; whatever else metrics/energy/<scheme>.json holds has a table.
_SHOWN = ("conventions", "float_uj", "integer_uj", "ratio", "last_float_pj", "last_integer_pj",
          "table", "zero_point")  # fmt: skip
SENSITIVITY_FILE = "plots/energy-sensitivity.csv"
ARITHMETICS = ("float", "integer")


def conventions(results: Results) -> str:
    """Show the integer energy of each scheme under each way to subtract zero points, in µJ."""
    names = list(results.best.energy["conventions"])
    rows = []
    for scheme in results.schemes:
        found = scheme.energy
        cells = [Cell(scheme.name), number(found["float_uj"], scheme.source("energy", "float_uj"))]
        for name in names:
            source = scheme.source("energy", f"conventions.{name}.integer_uj")
            cells.append(number(found["conventions"][name]["integer_uj"], source))
        rows.append(cells)
    return table(["scheme", "FP32, µJ", *(f"{name}, µJ" for name in names)], rows)


def sensitivity(results: Results) -> str:
    """Show how the ratio to FP32 of each scheme moves with each assumption, one at a time.

    A scheme has a dash under a table of prices that lacks one of its operations.
    """
    found = {
        (row["table"], row["varied"], row["value"], scheme.name): row
        for scheme in results.schemes
        for row in scheme.metrics["energy"]["sensitivity"]
    }
    ratio_of = {row["varied"]: row["ratio_of"] for row in found.values()}
    names = [scheme.name for scheme in results.schemes]
    rows = []
    for prices, varied, value in dict.fromkeys(key[:-1] for key in sorted(found, key=_first)):
        cells = [Cell(f"{varied} = {value}"), Cell(prices), Cell(ratio_of[varied])]
        for name in names:
            row = found.get((prices, varied, value, name))
            source = f"{SENSITIVITY_FILE}: {name}, {varied} = {value}, {prices}, ratio"
            ratio = None if row is None else row["ratio"]
            cells.append(Cell(shown(ratio, ".2f"), ratio, source))
        rows.append(cells)
    return table(["assumed", "prices", "FP32 costs times as much in", *names], rows)


def more(results: Results) -> str:
    """Show every other figure that the stage energy wrote, a line each, a column for each scheme.

    Memory, the figures of the table that the comparison does not use, and why a price is missing
    stand here under the keys that they have in the file.
    """
    found = {scheme.name: _others(scheme) for scheme in results.schemes}
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


def _first(key: tuple[Any, ...]) -> Any:
    return key[0]


def _others(scheme: SchemeResult) -> dict[str, Any]:
    """Return what is not shown elsewhere, by its dotted key."""
    above = f"{scheme.energy_key}." if scheme.energy_key else ""
    shown = ("sensitivity.", *(f"{above}{key}." for key in _SHOWN))
    found = _leaves(scheme.metrics["energy"])
    return {key: value for key, value in found if not f"{key}.".startswith(shown)}


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in nested JSON."""
    if isinstance(values, Mapping):
        for key, value in values.items():
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
    """Show each term of the last layer, with its count and its price, and each layer's memory."""
    file, rows = f"plots/energy/{scheme.name}.csv", scheme.tables["energy"]
    last = [row for row in rows if row["layer"] == rows[-1]["layer"]]
    parts = []
    for arithmetic in ARITHMETICS:
        key = f"last_{arithmetic}_pj"
        cost = number(scheme.energy[key], scheme.source("energy", key))
        total = [Cell("total"), Cell(""), Cell(""), Cell(""), cost]
        terms = [_term(row, file) for row in last if row["arithmetic"] == arithmetic]
        parts.append(table([arithmetic, "operation", "count", "pJ each", "pJ"], terms, total))
    name, kind = escape(scheme.name), f"layer {last[0]['layer']}, {last[0]['layer_kind']}"
    more = f"<p>Every other layer: {links([file])}</p>{_by_layer(scheme)}{_memory(scheme, file)}"
    return (
        f"<details{' open' if shown else ''}><summary>{name}: {kind}</summary>\n"
        f"{''.join(parts)}\n{more}</details>"
    )


def _by_layer(scheme: SchemeResult) -> str:
    """Show what each layer's integers cost under each way to subtract zero points, in pJ."""
    file, sums = f"plots/conventions/{scheme.name}.csv", dict[tuple[Any, ...], float]()
    for row in scheme.tables["conventions"]:
        key = (row["layer"], row["layer_kind"], row["zero_point"])
        sums[key] = sums.get(key, 0) + row["energy_pj"]
    names, prices = list(dict.fromkeys(key[2] for key in sums)), scheme.energy["table"]
    rows = [
        [Cell(f"{index} {kind}", index, f"{file}: layer {index}, layer")]
        + [
            number(sums[index, kind, name], f"{file}: layer {index}, {name}, {prices}, sum of pJ")
            for name in names
        ]
        for index, kind in dict.fromkeys(key[:2] for key in sums)
    ]
    if not rows:
        return ""
    heads = [f"{name}, pJ" for name in names]
    return (
        "<p>Integers of each layer by zero-point convention; by kind of operation: "
        f"{links([file])}</p>{table(['layer', *heads], rows)}"
    )


def _memory(scheme: SchemeResult, file: str) -> str:
    """Show what each layer reads and writes, in pJ; nothing where memory has no prices."""
    sums: dict[tuple[Any, ...], float] = {}
    for row in scheme.tables["memory"]:
        key = (row["layer"], row["arithmetic"], row["kind"], row["table"])
        sums[key] = sums.get(key, 0) + row["energy_pj"]  # weights and biases are a term each
    if not sums:
        return ""
    layers = {row["layer"]: row["layer_kind"] for row in scheme.tables["memory"]}
    columns = list(dict.fromkeys(key[1:] for key in sums))
    rows = [
        [Cell(f"{index} {kind}", index, f"{file}: layer {index}, layer")]
        + [
            number(sums[index, *column], f"{file}: layer {index}, {', '.join(column)}, sum of pJ")
            for column in columns
        ]
        for index, kind in layers.items()
    ]
    heads = [f"{arithmetic}: {kind.replace('_', ' ')}, pJ" for arithmetic, kind, _ in columns]
    return f"<p>Memory, apart from arithmetic:</p>{table(['layer', *heads], rows)}"


def _term(row: Row, file: str) -> list[Cell]:
    source = (
        f"{file}: layer {row['layer']}, {row['arithmetic']}, {row['kind']}, {row['operation']}, "
        f"{row['table']}"
    )
    count = f"{row['times']:,} × {row['each']:,} = {row['count']:,}"
    return [
        Cell(row["kind"].replace("_", " ")),
        Cell(row["operation"]),
        Cell(count, row["count"], f"{source}, count"),
        number(row["price_pj"], f"{source}, price_pj"),
        number(row["energy_pj"], f"{source}, energy_pj"),
    ]


def number(value: float | None, source: str) -> Cell:
    """Return a cell of a figure, or of a dash where the stage could not give one."""
    return Cell(MISSING if value is None else f"{value:,.8g}", value, source)
