"""The report: one page that stands alone, every figure of it traceable to the file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from powtwo.report import energy_figure, energy_tables, figures, heatmaps, pareto
from powtwo.report import histograms as histogram_figure
from powtwo.report.layer_tables import layers
from powtwo.report.markup import Cell, Picture, figure_in_text, links, table
from powtwo.report.results import COLUMNS, MISSING, Results, SchemeResult, layer_sensitivity, shown

PAGE = Path(__file__).with_name("page.html")


def pictures(results: Results) -> list[Picture]:
    """Draw what compares the schemes, in the order of the page."""
    best, names = results.best, [scheme.name for scheme in results.schemes]
    priced = results.best_priced or best
    return [
        Picture(
            "schemes", pareto.schemes(results), "Accuracy and energy",
            _pareto_description(results),
            ["plots/schemes.csv: accuracy, accuracy_low, accuracy_high, energy_uj"],
        ),
        Picture(
            "energy", energy_figure.energy(priced), "Energy by layer",
            f"Arithmetic energy of each layer for one image under {priced.name}: "
            f"{shown(priced.energy['float_uj'], '.3f')} µJ in float and "
            f"{shown(priced.row['energy_uj'], '.3f')} µJ in integers altogether.",
            [f"plots/energy/{priced.name}.csv: energy_pj",
             priced.source("energy", "float_uj"), priced.source("energy", "integer_uj")],
        ),
        Picture(
            "sqnr", heatmaps.sqnr(results), "Noise by layer",
            "Signal-to-quantization-noise ratio of each layer's output under each scheme; darker "
            f"is noisier. The noisiest layer of {best.name} has {best['min_sqnr_db']:.1f} dB.",
            [*(f"plots/layers/{name}.csv: sqnr_db" for name in names),
             f"metrics/evaluate/{best.name}.json: min_sqnr_db"],
        ),
        Picture(
            "sensitivity", heatmaps.sensitivity(results), "Which layer costs the accuracy",
            _sensitivity_description(results), ["plots/sensitivity.csv: points"],
        ),
        Picture(
            "histograms", histogram_figure.histograms(best), "What the codes are used for",
            f"Histograms of each layer's float weights and outputs under {best.name}, in steps of "
            "their scale, on a logarithmic axis. The upright lines are the lowest and the highest "
            "code; a value beyond one of them becomes that code.",
            [f"plots/histograms/{best.name}.csv: count, code_low, code_high"],
        ),
        Picture(
            "confusion", heatmaps.confusion(best), "Where it errs",
            f"Test images of each class that {best.name} took for another, in blue; those it got "
            f"right, {best['accuracy']:.2%} of all, in gray.",
            [f"plots/predictions/{best.name}.csv: actual, predicted",
             f"metrics/evaluate/{best.name}.json: accuracy"],
        ),
    ]  # fmt: skip


def _pareto_description(results: Results) -> str:
    points = "; ".join(
        f"{scheme.name} {scheme['accuracy']:.2%} at {scheme['energy_uj']:.3g} µJ"
        for scheme in results.schemes
        if scheme.priced
    )
    unpriced = ", ".join(scheme.name for scheme in results.schemes if not scheme.priced)
    left_out = f" Left out, since the table lacks a price for them: {unpriced}." if unpriced else ""
    return (
        f"Accuracy of the integer networks against the energy of their arithmetic: {points}. "
        f"The dashed line is the float network, {results.float_accuracy:.2%}. Blue: no other "
        "scheme is better in one and at least as good in the other. Upright lines are 95 % "
        f"intervals.{left_out}"
    )


def _sensitivity_description(results: Results) -> str:
    name = results.best.name
    rows = [row for row in layer_sensitivity(results) if row[0] == name]
    if not rows:
        return f"How {name} depends on each layer was not measured: sensitivity_images is 0."
    lost, loser = _most(rows, "quantized", -1)
    won, winner = _most(rows, "float", 1)
    return (
        f"Accuracy on {rows[0][4]:,} validation images, of which one is "
        f"{100 / rows[0][4]:.2g} points, by scheme and layer: points lost against "
        "the float network when this layer alone is quantized, and points gained on the integer "
        f"network when it alone is left in float; darker is more. Under {name} "
        + (f"{loser} costs most, {lost:.1f} points, " if lost > 0 else "no layer costs any, ")
        + (f"and {winner} gives most back, {won:.1f}." if won > 0 else "and none gives any back.")
    )


def _most(rows: Sequence[tuple[Any, ...]], alone: str, sign: int) -> tuple[float, str]:
    """Return the most points, lost or gained by their sign, and the first layer that has them."""
    found = [(sign * row[-1], f"layer {row[1]} {row[2]}") for row in rows if row[3] == alone]
    return max(found, key=lambda pair: pair[0])


def page(results: Results, drawn: Sequence[Picture]) -> str:
    """Return the HTML of the report; `drawn` is what `pictures` drew."""
    train = results.train
    training = Picture(
        "training", figures.training(results.epochs), "How the float network learned",
        f"Loss and accuracy by epoch. After {train['epochs_run']} epochs the weights of epoch "
        f"{train['best_epoch']} were kept: {train['train_accuracy']:.2%} on training images, "
        f"{train['validation_accuracy']:.2%} on validation images.",
        ["plots/training.csv",
         "metrics/train.json: epochs_run, best_epoch, train_accuracy, validation_accuracy"],
    )  # fmt: skip
    schemes = sorted(results.schemes, key=lambda scheme: scheme is not results.best)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        missing=MISSING,
        claim=_claim(results.best),
        evidence=_evidence(results),
        schemes=_schemes(results),
        pictures="\n".join(picture.html() for picture in [*drawn, training]),
        layers="\n".join(layers(scheme, scheme is results.best) for scheme in schemes),
        sensitivity=energy_tables.sensitivity(results),
        more=energy_tables.more(results),
        conventions=energy_tables.conventions(results),
        workings="\n".join(
            energy_tables.working(scheme, scheme is results.best) for scheme in schemes
        ),
    )


def _claim(best: SchemeResult) -> str:

    def number(part: str, key: str, form: str) -> str:
        return _in_text(best, part, key, form)

    claim = (
        f"In integers whose scales are shifts, <b>{escape(best.name)}</b> gets "
        f"{number('evaluate', 'accuracy', '.2%')} of {number('evaluate', 'test_images', ',')} "
        f"test images right (95 % interval {number('evaluate', 'accuracy_low', '.2%')} to "
        f"{number('evaluate', 'accuracy_high', '.2%')}); the float network, "
        f"{number('evaluate', 'float_accuracy', '.2%')}. "
    )
    if not best.priced:
        return claim + "What its arithmetic costs, the energy table has no price for."
    return claim + (
        f"Its arithmetic costs {number('energy', 'integer_uj', '.3f')} µJ an image instead of "
        f"{number('energy', 'float_uj', '.3f')} µJ, {number('energy', 'ratio', '.1f')} times less."
    )


def _evidence(results: Results) -> str:
    best = results.best
    energy = best.energy

    def number(key: str, form: str) -> str:
        return _in_text(best, "evaluate", key, form)

    return (
        f"Float and integer network see the same images: {number('gained', ',')} only the integers "
        f"have right, {number('lost', ',')} only the floats (McNemar's exact p = "
        f"{number('p_value', '.2g')}); the drop, {number('drop_points', '.2f')} points, has the "
        f"95 % interval {number('drop_points_low', '.2f')} to "
        f"{number('drop_points_high', '.2f')}. It was chosen among {len(results.schemes)} by "
        f"{number('validation_images', ',')} validation images, of which it has "
        f"{number('validation_accuracy', '.2%')} right: the cheapest within a standard error of "
        "the best on them; test images chose nothing. "
        "Energy is arithmetic alone, without memory and casts, by "
        f"the table {escape(energy['table'])} and the zero-point convention "
        f"{escape(energy['zero_point'])}. "
        + links(f"metrics/{part}/{best.name}.json" for part in ("evaluate", "energy"))
    )


def _in_text(scheme: SchemeResult, part: str, key: str, form: str) -> str:
    value = scheme.part(part)[key]
    return figure_in_text(format(value, form), value, scheme.source(part, key))


def _schemes(results: Results) -> str:
    rows = [
        [Cell(scheme.name)]
        + [
            Cell(shown(scheme.row[column.name], column.form), scheme.row[column.name],
                 scheme.source(column.part, column.key))
            for column in COLUMNS
        ]
        for scheme in results.schemes
    ]  # fmt: skip
    return table(["scheme", *(column.title for column in COLUMNS)], rows)
