"""The tables of the page, as data: every cell knows the file and the key it came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from powtwo.report.columns import LAYER_COLUMNS, LAYER_RANGES, MISSING, SCHEME_COLUMNS, typeset
from powtwo.report.results import Results, Row, SchemeResult


@dataclass(frozen=True)
class Cell:
    """One place of a table."""

    text: str
    value: float | None = None  # sorts the column; None: the text does
    source: str = ""  # file and key
    note: str = ""  # a line below the text


@dataclass(frozen=True)
class Table:
    """Titles of columns, rows of cells, a row that stays last, and the row that is marked."""

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Cell] = ()
    marked: str = ""  # the text of its first cell


def number(value: float | None, source: str, form: str = ",.8g") -> Cell:
    """Return a cell of a figure, or of a dash where the stage could not give one."""
    return Cell(typeset(value, form), value, source)


def overview(results: Results, options: Mapping[str, str]) -> Table:
    """Return what a scheme costs and saves, in six columns; FP32 comes last.

    Args:
        results: of a run.
        options: of each scheme, in a line.
    """
    rows = [[Cell(scheme.name, note=options[scheme.name]), *_costs(scheme)]
            for scheme in results.schemes]  # fmt: skip
    best = results.best
    fp32 = [
        Cell("FP32", note="float network"),
        _percent(results.float_accuracy, best.source("evaluate", "float_accuracy")),
        Cell(MISSING),
        number(results.fp32[0], best.source("energy", "float_uj"), ".3f"),
        Cell(MISSING),
        number(results.train["size_mb"], "metrics/train.json: size_mb", ".2f"),
    ]
    titles = ["scheme", "accuracy, %", "drop, points", "energy, µJ", "ratio", "size, MB"]
    return Table(titles, rows, fp32, best.name)


def _costs(scheme: SchemeResult) -> list[Cell]:
    half = 50 * (scheme["accuracy_high"] - scheme["accuracy_low"])
    accuracy = _percent(scheme["accuracy"], scheme.source("evaluate", "accuracy"))
    return [
        replace(accuracy, text=f"{accuracy.text} ± {half:.2f}"),
        number(scheme["drop_points"], scheme.source("evaluate", "drop_points"), ".2f"),
        number(scheme["energy_uj"], scheme.source("energy", "integer_uj"), ".3f"),
        number(scheme["ratio"], scheme.source("energy", "ratio"), ".1f"),
        number(scheme["size_mb"], scheme.source("convert", "size_mb"), ".2f"),
    ]


def _percent(fraction: float, source: str) -> Cell:
    return Cell(f"{100 * fraction:.2f}", fraction, source)


def compare_schemes(results: Results) -> Table:
    """Return every column of every scheme."""
    rows = [
        [Cell(scheme.name)]
        + [
            number(scheme.row[column.name], scheme.source(column.part, column.key), column.form)
            for column in SCHEME_COLUMNS
        ]
        for scheme in results.schemes
    ]
    return Table(["scheme", *(column.title for column in SCHEME_COLUMNS)], rows)


def layers(scheme: SchemeResult) -> Table:
    """Return every weighted layer: noise, clipping, sensitivity, exponents, shifts."""
    rows = [
        _layer(row, f"plots/layers/{scheme.name}.csv: layer {row['layer']}")
        for row in scheme.plots["layers"]
    ]
    titles = [*(column.title for column in LAYER_COLUMNS), *LAYER_RANGES.values()]
    return Table(["layer", *titles], rows)


def _layer(row: Row, place: str) -> list[Cell]:
    cells = [Cell(f"{row['layer']} {row['kind']}", row["layer"], f"{place}, layer")]
    for column in LAYER_COLUMNS:
        cells.append(number(row[column.key], f"{place}, {column.key}", column.form))
    for key in LAYER_RANGES:
        low, high = row[f"{key}_min"], row[f"{key}_max"]
        text = " to ".join(dict.fromkeys(typeset(end, "d") for end in (low, high)))
        cells.append(Cell(text, low, f"{place}, {key}_min"))
    return cells


def zero_points(results: Results) -> Table:
    """Return the integer energy of each scheme under each zero-point convention, in µJ."""
    rows = []
    for scheme in results.schemes:
        cells = [Cell(scheme.name), _energy(scheme, "float_uj")]
        for row in scheme.conventions().values():
            source = _assumption(scheme, row, "arithmetic_integer_uj")
            cells.append(number(row["arithmetic_integer_uj"], source))
        rows.append(cells)
    titles = (f"{name}, µJ" for name in results.best.conventions())
    return Table(["scheme", "FP32, µJ", *titles], rows)


def _energy(scheme: SchemeResult, key: str) -> Cell:
    return number(scheme.metrics["energy"][key], scheme.source("energy", key))


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
            cell = number(row["ratio"], _assumption(scheme, row, "ratio"), ".2f")
            ratios[assumption][scheme.name] = cell
    names = [scheme.name for scheme in results.schemes]
    rows = []
    for key in sorted(ratios, key=lambda key: key[0]):
        table, varied, value, ratio_of = key
        cells = [Cell(f"{varied} = {value}"), Cell(table), Cell(ratio_of)]
        rows.append(cells + [ratios[key].get(name, Cell(MISSING)) for name in names])
    return Table(["assumed", "prices", "FP32 costs times as much in", *names], rows)


def last_layer_terms(scheme: SchemeResult, arithmetic: str) -> Table:
    """Return each term of the last layer, with its count and its price in pJ.

    Args:
        scheme: whose layer it is.
        arithmetic: `float` or `integer`.
    """
    rows = scheme.plots["energy"]
    terms = [
        _term(row, f"plots/energy/{scheme.name}.csv")
        for row in rows
        if (row["layer"], row["arithmetic"]) == (rows[-1]["layer"], arithmetic)
    ]
    total = [Cell("total"), Cell(""), Cell(""), Cell(""), _energy(scheme, f"last_{arithmetic}_pj")]
    return Table([arithmetic, "operation", "count", "pJ each", "pJ"], terms, total)


def _term(row: Row, file: str) -> list[Cell]:
    names = ("arithmetic", "kind", "operation", "table")
    source = ", ".join([f"{file}: layer {row['layer']}", *(row[name] for name in names)])
    count = f"{row['times']:,} × {row['each']:,} = {row['count']:,}"
    return [
        Cell(row["kind"].replace("_", " ")),
        Cell(row["operation"]),
        Cell(count, row["count"], f"{source}, count"),
        number(row["price_pj"], f"{source}, price_pj"),
        number(row["energy_pj"], f"{source}, energy_pj"),
    ]


def conventions_by_layer(scheme: SchemeResult) -> Table:
    """Return the integer energy of each layer under each zero-point convention, in pJ."""
    return _sums_by_layer(scheme, "conventions", "conventions", ("zero_point", "table"))


def memory_by_layer(scheme: SchemeResult) -> Table:
    """Return the energy of what each layer reads and writes, in pJ; no row without prices."""
    return _sums_by_layer(scheme, "memory", "energy", ("arithmetic", "kind", "table"))


def _sums_by_layer(scheme: SchemeResult, part: str, folder: str, keys: Sequence[str]) -> Table:
    """Add up the energy of each layer, in a column for each combination of values of `keys`."""
    sums: dict[tuple[int, str], Counter[tuple[str, ...]]] = defaultdict(Counter)
    for row in scheme.plots[part]:
        column = tuple(row[key] for key in keys)
        sums[row["layer"], row["layer_kind"]][column] += row["energy_pj"]
    columns = list(next(iter(sums.values()), ()))
    rows = []
    for (layer, kind), of_layer in sums.items():
        place = f"plots/{folder}/{scheme.name}.csv: layer {layer}"
        rows.append(
            [Cell(f"{layer} {kind}", layer, f"{place}, layer")]
            + [number(of_layer[c], f"{place}, {', '.join(c)}, sum of pJ") for c in columns]
        )
    return Table(["layer", *map(_title, columns)], rows)


def _title(column: Sequence[str]) -> str:
    """Return `folded, pJ` of (folded, lab), `float: weights in, pJ` of (float, weights_in, lab)."""
    first, *others, _table = column
    return ": ".join([first, *(name.replace("_", " ") for name in others)]) + ", pJ"
