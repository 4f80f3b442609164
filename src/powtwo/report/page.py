"""The report: one page that stands alone, each of its figures traceable to a file and a key.

Its text and HTML are in `templates/`; this module gives it figures, tables and results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from powtwo.report import tables
from powtwo.report.columns import MISSING, shown
from powtwo.report.figures import energy, heatmaps, pareto, style, training
from powtwo.report.figures.histograms import histograms
from powtwo.report.results import LayerSensitivity, Results


def draw_figures(results: Results) -> dict[str, Figure]:
    """Draw every figure of the page, by the name of its file in plots/."""
    best = results.best
    return {
        "schemes": pareto.accuracy_and_energy(results),
        "energy": energy.by_layer(best),
        "sqnr": heatmaps.sqnr(results),
        "sensitivity": heatmaps.sensitivity(results),
        "histograms": histograms(best),
        "confusion": heatmaps.confusion(best),
        "training": training.curves(results.epochs),
    }


def render(results: Results, figures: Mapping[str, Figure]) -> str:
    """Return the HTML of the report, with what `draw_figures` drew."""
    best = results.best
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            results=results,
            best=best,
            best_first=sorted(results.schemes, key=lambda scheme: scheme is not best),
            sensitivity=_most_sensitive(best.layer_sensitivity()),
            svg={name: Markup(style.svg_body(figure, name)) for name, figure in figures.items()},
            tables=tables,
        )
    )


def environment() -> Environment:
    """Return what renders the templates: all text escaped, a name that is missing an error."""
    made = Environment(
        loader=PackageLoader("powtwo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    made.globals["MISSING"] = MISSING
    return made


def _most_sensitive(
    rows: Sequence[LayerSensitivity],
) -> dict[str, LayerSensitivity]:
    """Return the first layer that loses most when quantized alone, and gains most in float."""
    if not rows:
        return {}
    return {
        "lost": min((row for row in rows if row.alone == "quantized"), key=lambda row: row.points),
        "gained": max((row for row in rows if row.alone == "float"), key=lambda row: row.points),
    }
