"""How figures look and how they are saved.

Bytes are stable: fixed size and resolution, no date, no version, ids from a fixed salt, and no
settings of the user.

Sources:
1. Colors that color-blind readers can distinguish: Okabe and Ito 2008,
   https://jfly.uni-koeln.de/color/
2. Isotonic regression: Barlow et al. 1972
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from powtwo.core import files

BLUE, ORANGE, GREEN, PINK, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"  # source 1
INK, QUIET, FAINT, PAPER = "#1b1f24", "#525a64", "#8b929b", "#fefefe"
# Of cells, from nothing to much: sky and blue a shade off, so that each color is there once.
HEAT = ("#f1f3f5", "#cfe6f5", "#9dd0f0", "#56b4e8", "#0072b1", "#00507d", "#00304d")
# Colors that the page chooses anew for light and dark, and its names for them.
CSS_VARIABLES = {
    INK: "--ink", QUIET: "--quiet", FAINT: "--faint", PAPER: "--paper", BLUE: "--blue",
    ORANGE: "--orange", SKY: "--sky", **{color: f"--heat{i}" for i, color in enumerate(HEAT)},
}  # fmt: skip
WIDTH = 3.8  # inches: as wide as a telephone, so that nothing need be drawn twice
TEXT = 9  # points
LINE = 42  # characters of a title
LEGEND: Mapping[str, Any] = {
    "frameon": False, "fontsize": TEXT - 1, "handlelength": 1.2, "handletextpad": 0.5,
    "columnspacing": 1.2, "borderpad": 0,
}  # fmt: skip
SETTINGS = Path(__file__).with_name("powtwo.mplstyle")


@contextmanager
def project_style() -> Iterator[None]:
    """Draw with the project's settings and none of the user's; also as a decorator."""
    with mpl.style.context(["default", SETTINGS]):
        yield


def canvas(height: float) -> Figure:
    """Return an empty figure, `height` inches high, that needs no window system."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def legend_above(axes: Axes, title: str, columns: int, **options: Any) -> None:
    """Write a title, and below it a legend that covers nothing of the axes."""
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns,
                         borderaxespad=0.3, **LEGEND, **options)  # fmt: skip
    rows = -(-len(legend.get_texts()) // columns)
    axes.set_title(title, pad=4 + 13 * rows)


@project_style()
def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: Path | str) -> None:
    """Write a figure as PNG."""
    with files.atomic(path) as temporary:
        Path(temporary).write_bytes(png(figure))


@project_style()
def svg_body(figure: Figure, name: str) -> str:
    """Return the figure as SVG, from the attributes of its outermost element on.

    The page opens that element, and says there what the figure shows. Every id begins with `name`,
    and the colors of CSS_VARIABLES are those of the page.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue().partition("<svg ")[2]  # no XML declaration within a page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text).strip()
    for color, variable in CSS_VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text


def space_labels(wanted: Sequence[float], gap: float) -> list[float]:
    """Move positions in [0, 1] as little as it takes to lie `gap` apart (source 2).

    Args:
        wanted: the position that each label would have, in any order.
        gap: the least distance; made smaller where they would not all fit.

    Returns:
        The position of each, of least squared distance to `wanted`.
    """
    gaps = min(gap, 1 / max(1, len(wanted) - 1)) * np.arange(len(wanted))
    order = np.argsort(wanted, kind="stable")
    without_gaps = isotonic_regression(np.take(wanted, order) - gaps).x
    placed = np.empty(len(wanted))
    placed[order] = np.clip(without_gaps, 0, 1 - gaps[-1]) + gaps
    return [float(position) for position in placed]
