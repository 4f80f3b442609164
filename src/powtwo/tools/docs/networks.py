"""Published runs of two networks on the same images, in one picture and one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from powtwo.report.figures import names, style
from powtwo.report.figures.names import Name, Point
from powtwo.report.figures.pareto import energy_axis
from powtwo.report.figures.style import canvas, project_style
from powtwo.tools import published
from powtwo.tools.docs import markdown, readme
from powtwo.tools.docs.markdown import mean_deviation
from powtwo.tools.published import Run

NETWORKS = {"VGG": "cifar10-jpeg-tuned", "resnet8": "cifar10-jpeg-resnet8"}  # to runs in results/
COLORS = (style.BLUE, style.ORANGE)
TITLES = ("network", "parameters", "scheme", "accuracy, %", "drop", "µJ", "ratio")

Recipes = Mapping[str, Sequence[Run]]


def read(root: Path) -> Recipes:
    """Return the published runs of each network.

    Raises:
        ValueError: where there is none of a network, or they were measured on other images, or by
            other prices.
    """
    recipes = {
        network: [
            published.load(folder)
            for folder in published.folders(root)
            if published.recipe(folder.name) == recipe
        ]
        for network, recipe in NETWORKS.items()
    }
    for network, recipe in recipes.items():
        if not recipe:
            raise ValueError(f"results/{NETWORKS[network]}: no such run; publish it")
    runs = [run for recipe in recipes.values() for run in recipe]
    for what, values in (
        ("images", {run.download["sha256"] for run in runs}),
        ("prices", {run.prices for run in runs}),
    ):
        if len(values) > 1:
            raise ValueError(f"results: {what}: differ among {', '.join(NETWORKS.values())}")
    return recipes


def table(recipes: Recipes) -> str:
    """Return the schemes of every network, FP32 first."""
    rows = []
    for network, runs in recipes.items():
        parameters = f"{runs[0].train['parameters']:,}"
        accuracy = mean_deviation([100 * run.float_accuracy for run in runs], ".2f")
        fp32 = f"{readme.float_uj(runs[0]):.3f}"
        rows.append([network, parameters, "FP32", accuracy, "–", fp32, "1"])
        for scheme in readme.best_schemes(runs):
            accuracy = mean_deviation(
                [100 * value for value in published.column(runs, scheme, "accuracy")], ".2f"
            )
            figures = [
                mean_deviation(published.column(runs, scheme, key), form)
                for key, form in (("drop_points", ".2f"), ("energy_uj", ".3f"), ("ratio", ".1f"))
            ]
            rows.append([network, parameters, f"`{scheme}`", accuracy, *figures])
    counts = ", ".join(f"{len(runs)} of {network}" for network, runs in recipes.items())
    first = next(iter(recipes.values()))[0]
    sentence = (
        f"{published.images(first)[2]} test images of `cifar10-jpeg`, which is not CIFAR-10; "
        f"trainings: {counts}, ± their sample standard deviation; energy of one image's "
        f"arithmetic by the prices `{first.prices}`."
    )
    return "\n".join([sentence, "", *markdown.table(TITLES, rows, words=(0, 2))])


@project_style()
def picture(recipes: Recipes) -> Figure:
    """Draw accuracy against energy, a color for each network; squares are FP32."""
    figure = canvas(3.4)
    axes = figure.subplots()
    axes.set_title("Test accuracy (%)")
    axes.grid(color=style.FAINT, alpha=0.2)
    written = []
    for color, (network, runs) in zip(COLORS, recipes.items(), strict=True):
        for label, at in points(network, runs).items():
            axes.plot(*at, "s" if label == network else "o", markersize=5, color=color)
            written.append(Name(label, at, color))
    energy_axis(axes, [energy for energy, _ in (name.at for name in written)])
    axes.margins(y=0.15)
    keys = [
        Line2D([], [], linestyle="", marker=marker, markersize=5, color=style.QUIET, label=label)
        for marker, label in (("s", "FP32"), ("o", "integers"))
    ]
    figure.legend(handles=keys, loc="outside lower left", ncols=2, **style.LEGEND)
    figure.draw_without_rendering()  # fixes the layout, by which labels are placed
    figure.set_layout_engine("none")
    names.write(axes, written, [])
    return figure


def points(network: str, runs: Sequence[Run]) -> dict[str, Point]:
    """Return energy in µJ and accuracy in % of FP32, by the network's name, and of each scheme."""
    accuracy = mean(run.float_accuracy for run in runs)
    result = {network: (readme.float_uj(runs[0]), 100 * accuracy)}
    for scheme in readme.best_schemes(runs):
        energy, accuracy = (
            mean(published.column(runs, scheme, key)) for key in ("energy_uj", "accuracy")
        )
        result[scheme] = energy, 100 * accuracy
    return result
