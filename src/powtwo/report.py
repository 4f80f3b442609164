"""The report: one page that stands alone, every figure of it traceable to the file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from powtwo import energy_figure, figures, heatmaps, pareto
from powtwo.markup import Cell, Picture, links, table
from powtwo.results import COLUMNS, Results, Row, SchemeResult

PAGE = Path(__file__).with_name("page.html")


def pictures(results: Results) -> list[Picture]:
    """Draw what compares the schemes, in the order of the page."""
    best, names = results.best, [scheme.name for scheme in results.schemes]
    points = "; ".join(
        f"{scheme.name} {scheme['accuracy']:.2%} at {scheme['energy_uj']:.3g} µJ"
        for scheme in results.schemes
    )
    return [
        Picture(
            "schemes", pareto.schemes(results), "Accuracy and energy",
            f"Accuracy of the integer networks against the energy of their arithmetic: {points}. "
            f"The dashed line is the float network, {results.float_accuracy:.2%}. Blue: no other "
            "scheme is at least as good in both.",
            ["plots/schemes.csv"],
        ),
        Picture(
            "energy", energy_figure.energy(best), "Energy by layer",
            f"Arithmetic energy of each layer for one image under {best.name}: "
            f"{best.metrics['energy']['float_uj']:.3f} µJ in float and "
            f"{best['energy_uj']:.3f} µJ in integers altogether.",
            [f"plots/energy/{best.name}.csv"],
        ),
        Picture(
            "sqnr", heatmaps.sqnr(results), "Noise by layer",
            "Signal-to-quantization-noise ratio of each layer's output under each scheme; darker "
            f"is noisier. The noisiest layer of {best.name} has {best['min_sqnr_db']:.1f} dB.",
            [f"plots/layers/{name}.csv" for name in names],
        ),
        Picture(
            "confusion", heatmaps.confusion(best), "Where it errs",
            f"Test images of each class that {best.name} took for another, in blue; those it got "
            f"right, {best['accuracy']:.2%} of all, in gray.",
            [f"plots/predictions/{best.name}.csv"],
        ),
    ]  # fmt: skip


def page(results: Results, drawn: Sequence[Picture]) -> str:
    """Return the HTML of the report; `drawn` is what `pictures` drew."""
    train = results.train
    training = Picture(
        "training", figures.training(results.epochs), "How the float network learned",
        f"Loss and accuracy by epoch. After {train['epochs_run']} epochs the weights of epoch "
        f"{train['best_epoch']} were kept: {train['train_accuracy']:.2%} on training images, "
        f"{train['validation_accuracy']:.2%} on validation images.",
        ["plots/training.csv", "metrics/train.json"],
    )  # fmt: skip
    schemes = sorted(results.schemes, key=lambda scheme: scheme is not results.best)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        claim=_claim(results.best),
        evidence=_evidence(results),
        schemes=_schemes(results),
        pictures="\n".join(picture.html() for picture in [*drawn, training]),
        conventions=_conventions(results),
        workings="\n".join(_working(scheme, scheme is results.best) for scheme in schemes),
    )


def _claim(best: SchemeResult) -> str:
    evaluate, energy = best.metrics["evaluate"], best.metrics["energy"]
    return (
        f"In integers whose scales are shifts, <b>{escape(best.name)}</b> gets "
        f"{best['accuracy']:.2%} of {evaluate['test_images']:,} test images right; the float "
        f"network, {evaluate['float_accuracy']:.2%}. Its arithmetic costs "
        f"{best['energy_uj']:.3f} µJ an image instead of {energy['float_uj']:.3f} µJ, "
        f"{best['ratio']:.1f} times less."
    )


def _evidence(results: Results) -> str:
    best = results.best
    evaluate, energy = best.metrics["evaluate"], best.metrics["energy"]
    return (
        f"Float and integer network see the same images: {evaluate['gained']} only the integers "
        f"have right, {evaluate['lost']} only the floats (McNemar's exact p = "
        f"{evaluate['p_value']:.2g}). It was chosen among {len(results.schemes)} by "
        f"{evaluate['validation_images']:,} validation images, of which it has "
        f"{best['validation_accuracy']:.2%} right; test images chose nothing. "
        "Energy is arithmetic alone, without memory and casts, by the "
        f"table {escape(energy['table'])} and the zero-point convention {energy['zero_point']}. "
        + links(f"metrics/{part}/{best.name}.json" for part in ("evaluate", "energy"))
    )


def _schemes(results: Results) -> str:
    rows = [
        [Cell(scheme.name)]
        + [
            Cell(format(scheme[column.name], column.form), scheme[column.name],
                 f"metrics/{column.part}/{scheme.name}.json: {column.key}")
            for column in COLUMNS
        ]
        for scheme in results.schemes
    ]  # fmt: skip
    return table(["scheme", *(column.title for column in COLUMNS)], rows)


def _conventions(results: Results) -> str:
    """Show the integer energy of each scheme under each way to subtract zero points, in µJ."""
    names = list(results.best.metrics["energy"]["conventions"])
    rows = []
    for scheme in results.schemes:
        found, file = scheme.metrics["energy"], f"metrics/energy/{scheme.name}.json"
        cells = [Cell(scheme.name), _number(found["float_uj"], f"{file}: float_uj")]
        for name in names:
            source = f"{file}: conventions.{name}.integer_uj"
            cells.append(_number(found["conventions"][name]["integer_uj"], source))
        rows.append(cells)
    return table(["scheme", "FP32, µJ", *(f"{name}, µJ" for name in names)], rows)


def _working(scheme: SchemeResult, shown: bool) -> str:
    """Show each term of the last layer in float and in integers, with its count and its price."""
    file, found = f"plots/energy/{scheme.name}.csv", scheme.metrics["energy"]
    rows = scheme.tables["energy"]
    last = [row for row in rows if row["layer"] == rows[-1]["layer"]]
    parts = []
    for arithmetic in ("float", "integer"):
        key = f"last_{arithmetic}_pj"
        sources = f"metrics/energy/{scheme.name}.json: {key}"
        total = [Cell("total"), Cell(""), Cell(""), Cell(""), _number(found[key], sources)]
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
        _number(row["price_pj"], source),
        _number(row["energy_pj"], source),
    ]


def _number(value: float, source: str) -> Cell:
    return Cell(f"{value:,.8g}", value, source)
