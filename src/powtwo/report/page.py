"""The report: one page that stands alone, each of its figures traceable to a file and a key.

Its text and HTML are in `templates/`; this module gives it figures, tables and results.
"""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from powtwo.report import systems, tables
from powtwo.report.columns import MISSING, typeset
from powtwo.report.figures import energy, heatmaps, pareto, style, training
from powtwo.report.figures.histograms import histograms
from powtwo.report.fp32 import fp32_row
from powtwo.report.results import Results


def draw_figures(results: Results) -> dict[str, Figure]:
    """Draw every figure of the page, by the name of its file in plots/."""
    best = results.best
    return {
        "schemes": pareto.accuracy_and_energy(
            {scheme.name: scheme.row for scheme in results.schemes},
            best.name,
            fp32_row(results),
            systems.beside(results.download),
        ),
        "energy": energy.by_layer(best),
        "sqnr": heatmaps.sqnr(results),
        "sensitivity": heatmaps.sensitivity(results),
        "histograms": histograms(best),
        "confusion": heatmaps.confusion(best),
        "training": training.curves(results.epochs),
    }


def render(
    results: Results, figures: Mapping[str, Figure], options: Mapping[str, str], seed: int
) -> str:
    """Return the HTML of the report.

    Args:
        results: of the run.
        figures: what `draw_figures` drew.
        options: of each scheme, in a line.
        seed: of the training.
    """
    best = results.best
    return templates().get_template("page.html.j2").render(
        results=results,
        best=best,
        svg={name: Markup(style.svg_body(figure, name)) for name, figure in figures.items()},
        tables=tables,
        options=options,
        seed=seed,
        systems=systems.read(),
        beside=systems.beside(results.download),
        noise=[
            scheme.name
            for scheme in results.best_first
            if scheme["drop_points_low"] <= 0 <= scheme["drop_points_high"]
        ],
    )  # fmt: skip


def templates() -> Environment:
    """Return what renders the templates: all text escaped, a name that is missing an error."""
    environment = Environment(
        loader=PackageLoader("powtwo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = typeset
    environment.globals["MISSING"] = MISSING
    return environment
