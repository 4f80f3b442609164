"""How pictures look and are saved, and the learning curves.

The stage train depends on this module and reruns when it changes; what compares schemes is drawn
in `pareto.py`, `heatmaps.py` and `energy_figure.py`, which it does not know. Bytes are stable:
fixed size and resolution, no date, no version, ids from a fixed salt, and no settings of the user.

Sources:
1. Colors that color-blind readers can tell apart: Okabe and Ito 2008,
   https://jfly.uni-koeln.de/color/
2. Isotonic regression by pooling adjacent violators: Barlow et al. 1972
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from powtwo.core import files

BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"  # source 1
INK, FAINT, PAPER = "#1b1f24", "#8b929b", "#fefefe"  # the page replaces these in dark mode
DPI = 150  # pixels an inch
WIDTH = 7.2  # inches
TEXT = 9  # points
_SETTINGS = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": TEXT + 1,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.facecolor": PAPER,
    "font.size": TEXT,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud
    "svg.hashsalt": "powtwo",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw with the project's settings, and with none of the user's."""
    with mpl.style.context(["default", _SETTINGS]):
        yield


def canvas(height: float) -> Figure:
    """Return an empty figure, `height` inches high; no window system is asked."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path | str) -> None:
    """Write a figure as PNG."""
    with style(), files.atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element to set into a page, every id under `name`."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style():
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]  # no XML declaration within a page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", text).strip()


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Move positions in [0, 1] as little as it takes to lie `gap` apart (source 2).

    Args:
        wanted: where each would like to be, in any order.
        gap: the least distance; made smaller where they would not all fit.

    Returns:
        Where each is put, of least squared distance to `wanted`.
    """
    gap = min(gap, 1 / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    pools: list[list[float]] = []  # what is left of a position once its gaps are taken off
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) >= _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    flat = [_mean(pool) for pool in pools for _ in pool]
    room = 1 - (len(wanted) - 1) * gap
    placed = {i: min(max(flat[k], 0), room) + k * gap for k, i in enumerate(order)}
    return [placed[index] for index in range(len(wanted))]


def training(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and accuracy by epoch, training against validation.

    Args:
        rows: an epoch each, with the keys of `plots/training.csv`.
    """
    with style():
        figure = canvas(2.9)
        left, right = figure.subplots(1, 2)
        _curves(left, rows, "loss", 1, "Loss (nats)")
        _curves(right, rows, "accuracy", 100, "Accuracy (%)")
    return figure


def training_curves(rows: Sequence[Mapping[str, float]], path: Path | str) -> None:
    """Write the picture of `training` as PNG."""
    save_png(training(rows), path)


def _curves(
    axes: Axes, rows: Sequence[Mapping[str, float]], key: str, unit: float, title: str
) -> None:
    epochs = [row["epoch"] for row in rows]
    parts = {"train": ORANGE, "validation": BLUE}
    curves = {part: [unit * row[f"{part}_{key}"] for row in rows] for part in parts}
    for part, color in parts.items():
        axes.plot(epochs, curves[part], color=color, marker="o", markersize=2.5)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = [(curve[-1] - low) / (high - low) for curve in curves.values()]
    for (part, color), y in zip(parts.items(), spread(ends, 0.08), strict=True):
        axes.text(1.02, y, part, color=color, va="center", transform=axes.transAxes)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=FAINT, alpha=0.25)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
