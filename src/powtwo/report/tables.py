"""The tables of the page, as data: every cell knows the file and the key it came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from powtwo.report.columns import (
    COMPARATORS,
    FP32,
    LAYER_COLUMNS,
    LAYER_RANGES,
    MISSING,
    RANGES,
    SCHEME_COLUMNS,
    Column,
    typeset,
    uniform,
    words,
)
from powtwo.report.fp32 import fp32_row
from powtwo.report.results import FLOAT_ZEROS, Results, Row, SchemeResult

MICROJOULES, PICOJOULES = ",.3f", ",.0f"  # of a whole network, and of a layer


@dataclass(frozen=True)
class Cell:
    """One place of a table."""

    text: str
    value: float | None = None  # sorts the column; None: the text does
    source: str = ""  # file and key
    half: str = ""  # of its interval; digits align where others of the column have none
    note: str = ""  # a line below the text


@dataclass(frozen=True)
class Table:
    """Titles of columns, rows of cells, a row that stays last, and the row that is marked."""

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()
    marked: str = ""  # the text of its first cell
    caption: str = ""


def number(value: float | None, source: str, form: str) -> Cell:
    """Return a cell of a figure, or of a dash where the stage could not give one."""
    return Cell(typeset(value, form), value, source)


def overview(results: Results, options: Mapping[str, str]) -> Table:
    """Return what a scheme costs and saves, in six columns; the best first, FP32 last.

    Args:
        results: of a run.
        options: of each scheme, in a line.
    """
    rows = [[Cell(scheme.name, note=options[scheme.name]), *_costs(scheme)]
            for scheme in results.best_first]  # fmt: skip
    of_float = _of_float(results)
    figures = ("accuracy", "drop_points", "energy_uj", "ratio", "size_mb")
    fp32 = [Cell(FP32, note="float network"), *(of_float.get(f, Cell(MISSING)) for f in figures)]
    fp32[1] = _with_half(fp32[1], fp32_row(results))
    titles = ["scheme", "accuracy, %", "drop, points", "energy, µJ", "ratio", "size, MB"]
    return Table(titles, rows, fp32, results.best.name)


def _costs(scheme: SchemeResult) -> list[Cell]:
    cells = {column.name: _figure(scheme, column) for column in SCHEME_COLUMNS}
    accuracy = _with_half(cells["accuracy"], scheme.row)
    return [accuracy, *(cells[name] for name in ("drop_points", "energy_uj", "ratio", "size_mb"))]


def _with_half(accuracy: Cell, row: Row) -> Cell:
    """Return the cell of an accuracy with half the width of its interval."""
    half = 50 * (row["accuracy_high"] - row["accuracy_low"])
    return replace(accuracy, text=accuracy.text.removesuffix("%"), half=f"± {half:.2f}")


def compare_schemes(results: Results) -> Table:
    """Return every column of every scheme but COMPARATORS; the best comes first, FP32 last."""
    columns = [c for c in SCHEME_COLUMNS if c.title and c.name not in COMPARATORS[1:]]
    rows = [
        [Cell(scheme.name), *(_figure(scheme, column) for column in columns)]
        for scheme in results.best_first
    ]
    of_float = _of_float(results)
    fp32 = [Cell(FP32), *(of_float.get(column.name, Cell(MISSING)) for column in columns)]
    return Table(["scheme", *(c.title for c in columns)], rows, fp32, results.best.name)


def comparators(results: Results) -> Table:
    """Return how many times as much FP32 costs as each scheme, by what is compared with what."""
    columns = [column for column in SCHEME_COLUMNS if column.name in COMPARATORS]
    rows = [
        [Cell(scheme.name), *(_figure(scheme, column) for column in columns)]
        for scheme in results.best_first
    ]
    titles = ["scheme", "dense / dense FP32", "gated / dense FP32", "gated / gated FP32",
              "dense / dense FP32, with SRAM"]  # fmt: skip
    return Table(titles, rows, marked=results.best.name)


def _figure(scheme: SchemeResult, column: Column) -> Cell:
    """Return a figure of a scheme, or the range that begins with it."""
    cell = number(scheme[column.name], scheme.source(column.part, column.key), column.form)
    return _range(cell, scheme.row, column) if column.name in RANGES else cell


def _range(cell: Cell, row: Row, column: Column) -> Cell:
    low, high = (typeset(row[key], column.form) for key in (column.name, RANGES[column.name]))
    return replace(cell, text=f"{low.removesuffix('%')} to {high}")


def _of_float(results: Results) -> dict[str, Cell]:
    """Return what is known of the float network, by the name of a scheme's column."""
    best, train = results.best, results.train
    accuracy = best.source("evaluate", "float_accuracy")
    key, file = "validation_accuracy", "metrics/train.json"
    row, columns = fp32_row(results), {column.name: column for column in SCHEME_COLUMNS}
    return {
        "accuracy": number(results.float_accuracy, accuracy, ".2%"),
        "accuracy_low": _range(Cell(""), row, columns["accuracy_low"]),
        "ratio": Cell("1"),
        key: number(train[key], f"{file}: {key}", ".2%"),
        "size_mb": number(train["size_mb"], f"{file}: size_mb", ".2f"),
        "energy_uj": number(row["energy_uj"], best.source("energy", "float_uj"), MICROJOULES),
    }


def layers(scheme: SchemeResult) -> Table:
    """Return every weighted layer: noise, clipping, sensitivity, exponents, shifts."""
    rows = [
        _layer(row, scheme.layer_names[row["layer"]], f"plots/layers/{scheme.name}.csv")
        for row in scheme.plots["layers"]
    ]
    titles = [*(column.title for column in LAYER_COLUMNS), *LAYER_RANGES.values()]
    return Table(["layer", *titles], rows)


def _layer(row: Row, name: str, file: str) -> list[Cell]:
    place = f"{file}: layer {row['layer']}"
    cells = [Cell(name, row["layer"], f"{place}, layer")]
    for column in LAYER_COLUMNS:
        cells.append(number(row[column.key], f"{place}, {column.key}", column.form))
    for key in LAYER_RANGES:
        low, high = row[f"{key}_min"], row[f"{key}_max"]
        text = " to ".join(dict.fromkeys(typeset(end, "d") for end in (low, high)))
        cells.append(Cell(text, low, f"{place}, {key}_min"))
    return cells


def zeros(results: Results, scheme: SchemeResult) -> Table:
    """Return the shares of zeros in each layer of a scheme, and of the float network's products."""
    file = f"plots/zeros/{scheme.name}.csv"
    rows = []
    for row, of_float in zip(scheme.plots["zeros"], results.float_zeros, strict=True):
        layer = row["layer"]
        cells = [Cell(scheme.layer_names[layer], layer, f"{file}: layer {layer}, layer")]
        for key in ("weight_share", "input_share", "product_share"):
            cells.append(number(row[key], f"{file}: layer {layer}, {key}", ".1%"))
        source = f"{FLOAT_ZEROS}: layer {of_float['layer']}, product_share"
        rows.append([*cells, number(of_float["product_share"], source, ".1%")])
    titles = ["layer", "zero weights", "zero inputs", "zero products", "zero products, FP32"]
    return Table(titles, rows)


def zero_points(results: Results) -> Table:
    """Return the integer energy of each scheme under each zero-point convention, in µJ."""
    rows = []
    for scheme in results.best_first:
        cells = [Cell(scheme.name), _energy(scheme, "float_uj", MICROJOULES)]
        for row in scheme.conventions().values():
            source = _assumption(scheme, row, "arithmetic_integer_uj")
            cells.append(number(row["arithmetic_integer_uj"], source, MICROJOULES))
        rows.append(cells)
    titles = (f"{words(name)}, µJ" for name in results.best.conventions())
    return Table(["scheme", "FP32, µJ", *titles], rows)


def _energy(scheme: SchemeResult, key: str, form: str) -> Cell:
    return number(scheme.metrics["energy"][key], scheme.source("energy", key), form)


def _assumption(scheme: SchemeResult, row: Row, key: str) -> str:
    """Return the source of a figure of plots/assumptions."""
    place = f"{row['varied']} = {row['value']}, {row['table']}"
    return f"plots/assumptions/{scheme.name}.csv: {place}, {key}"


def energy_assumptions(results: Results) -> Table:
    """Return how the ratio to FP32 of each scheme moves with each assumption, one at a time.

    A scheme has a dash under a price table that lacks one of its operations.
    """
    ratios: dict[tuple[str, ...], dict[str, Cell]] = defaultdict(dict)
    for scheme in results.schemes:
        for row in scheme.plots["assumptions"]:
            assumption = (row["table"], row["varied"], row["value"], row["ratio_of"])
            cell = number(row["ratio"], _assumption(scheme, row, "ratio"), ".1f")
            ratios[assumption][scheme.name] = cell
    names = [scheme.name for scheme in results.best_first]
    rows = []
    for key in sorted(ratios, key=lambda key: key[0]):
        table, varied, value, ratio_of = key
        cells = [Cell(f"{words(varied)}: {words(value)}"), Cell(table), Cell(words(ratio_of))]
        rows.append(cells + [ratios[key].get(name, Cell(MISSING)) for name in names])
    return Table(["assumed", "prices", "FP32 costs times as much in", *names], rows)


def last_layer_terms(scheme: SchemeResult, arithmetic: str) -> Table:
    """Return each term of the last layer, with its count and its price in pJ.

    Args:
        scheme: whose layer it is.
        arithmetic: `float` or `integer`.
    """
    of_scheme = scheme.plots["energy"]
    wanted = of_scheme[-1]["layer"], arithmetic
    rows = [row for row in of_scheme if (row["layer"], row["arithmetic"]) == wanted]
    key = f"last_{arithmetic}_pj"
    forms = {"price_pj": uniform(row["price_pj"] for row in rows)}
    forms["energy_pj"] = uniform(
        [scheme.metrics["energy"][key], *(row["energy_pj"] for row in rows)]
    )
    terms = [_term(row, f"plots/energy/{scheme.name}.csv", forms) for row in rows]
    total = [Cell("total"), Cell(""), Cell(""), Cell(""), _energy(scheme, key, forms["energy_pj"])]
    titles = ["term", "operation", "count", "pJ each", "pJ"]
    return Table(titles, terms, total, caption=arithmetic)


def _term(row: Row, file: str, forms: Mapping[str, str]) -> list[Cell]:
    names = ("arithmetic", "kind", "operation", "table")
    source = ", ".join([f"{file}: layer {row['layer']}", *(row[name] for name in names)])
    count = f"{row['times']:,} × {row['each']:,} = {row['count']:,}"
    return [
        Cell(words(row["kind"])),
        Cell(words(row["operation"])),
        Cell(count, row["count"], f"{source}, count"),
        *(number(row[key], f"{source}, {key}", form) for key, form in forms.items()),
    ]


def conventions_by_layer(scheme: SchemeResult) -> Table:
    """Return the integer energy of each layer under each zero-point convention, in pJ."""
    return _sums_by_layer(scheme, "conventions", "conventions", ("zero_point", "table"))


def memory_by_layer(scheme: SchemeResult) -> Table:
    """Return the energy of what each layer reads and writes, in pJ; no row without prices."""
    return _sums_by_layer(scheme, "memory", "energy", ("arithmetic", "kind", "table"))


def _sums_by_layer(scheme: SchemeResult, part: str, folder: str, keys: Sequence[str]) -> Table:
    """Add up the energy of each layer, in a column for each combination of values of `keys`."""
    sums: dict[int, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for row in scheme.plots[part]:
        column = tuple(row[key] for key in keys)
        sums[row["layer"]][column] += row["energy_pj"]
    columns = list(next(iter(sums.values()), ()))
    rows = []
    for layer, of_layer in sums.items():
        place = f"plots/{folder}/{scheme.name}.csv: layer {layer}"
        rows.append(
            [Cell(scheme.layer_names[layer], layer, f"{place}, layer")]
            + [
                number(of_layer[c], f"{place}, {', '.join(c)}, sum of pJ", PICOJOULES)
                for c in columns
            ]
        )
    return Table(["layer", *map(_title, columns)], rows)


def _title(column: Sequence[str]) -> str:
    """Return `folded, pJ` of (folded, lab), `float: weights in, pJ` of (float, weights_in, lab)."""
    *names, _table = column
    return ": ".join(map(words, names)) + ", pJ"
