"""The learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powtwo.report.figures.style import BLUE, FAINT, ORANGE, canvas, project_style, space_labels


@project_style()
def curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and accuracy by epoch, training against validation.

    Args:
        rows: an epoch each, with the keys of `plots/training.csv`.
    """
    figure = canvas(4.4 if rows else 0.6)
    if not rows:  # train.epochs: 0
        figure.text(0.5, 0.5, "No epochs: the network is as it was given", ha="center")
        return figure
    upper, lower = figure.subplots(2, 1)
    _draw(upper, rows, "loss", 1, "Training: loss (nats)")
    _draw(lower, rows, "accuracy", 100, "Training: accuracy (%)")
    return figure


def _draw(
    axes: Axes, rows: Sequence[Mapping[str, float]], key: str, factor: float, title: str
) -> None:
    epochs = [row["epoch"] for row in rows]
    parts = {"train": ORANGE, "validation": BLUE}
    values = {part: [factor * row[f"{part}_{key}"] for row in rows] for part in parts}
    for part, color in parts.items():
        axes.plot(epochs, values[part], color=color, marker="o", markersize=2.5)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = [(curve[-1] - low) / (high - low) for curve in values.values()]
    for (part, color), y in zip(parts.items(), space_labels(ends, 0.08), strict=True):
        axes.text(1.02, y, part, color=color, va="center", transform=axes.transAxes)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=FAINT, alpha=0.25)
