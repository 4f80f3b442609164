"""The picture that compares schemes: accuracy against energy."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from powtwo.figures import BLUE, FAINT, INK, ORANGE, canvas, spread, style
from powtwo.results import Results


def schemes(results: Results) -> Figure:
    """Draw accuracy against energy, and the front that no scheme beats in both."""
    points = [(scheme["energy_uj"], 100 * scheme["accuracy"]) for scheme in results.schemes]
    with style():
        height = max(3.4, 1.4 + 0.19 * len(points))
        figure = canvas(height)
        axes = figure.subplots()
        front = _front(points)
        axes.step(*zip(*front, strict=True), where="post", color=BLUE, alpha=0.4, zorder=1)
        for x, y in points:
            axes.plot(x, y, "o", markersize=6, color=BLUE if (x, y) in front else FAINT)
        _frame(axes, points, 100 * results.float_accuracy)
        cost = results.best.metrics["energy"]["float_uj"]
        axes.axhline(100 * results.float_accuracy, color=ORANGE, linestyle="--", linewidth=1.2)
        axes.annotate(
            f"float, {cost:.0f} µJ", (0, 100 * results.float_accuracy), (3, 3),
            xycoords=("axes fraction", "data"), textcoords="offset points", color=ORANGE,
        )  # fmt: skip
        _label(axes, [scheme.name for scheme in results.schemes], points, 13 / (height * 72 - 60))
        axes.set_title("Accuracy on test images (%)")
        axes.set_xlabel("arithmetic energy of one image (µJ)")
        axes.grid(color=FAINT, alpha=0.25)
    return figure


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that none other beats in one thing and equals in the other."""
    return [
        (x, y)
        for x, y in sorted(set(points))
        if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]


def _frame(axes: Axes, points: Sequence[tuple[float, float]], reference: float) -> None:
    """Leave room around the points, so that equal schemes do not look far apart."""
    energies, accuracies = [x for x, _ in points], [*(y for _, y in points), reference]
    axes.set_xlim(0, 1.15 * max(energies))
    room = max(0.5, 0.15 * (max(accuracies) - min(accuracies)))
    axes.set_ylim(min(accuracies) - room, min(max(accuracies) + room, 100.2))


def _label(
    axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], gap: float
) -> None:
    """Write each name right of the axes, a thin line leading from its point."""
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for _, y in points], gap)
    for name, point, height in zip(names, points, heights, strict=True):
        axes.annotate(
            name, point, (1.02, height), textcoords="axes fraction", va="center", color=INK,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7, "shrinkA": 2,
                        "relpos": (0, 0.5)},
        )  # fmt: skip
