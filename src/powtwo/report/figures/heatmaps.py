"""Matrices in color: which classes are confused, and which layers are noisy or sensitive."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from powtwo.report.figures.style import TEXT, WIDTH, canvas, project_style
from powtwo.report.results import Results, SchemeResult

Matrix = NDArray[np.float64]

LABELED_CLASSES = 20  # beyond these, numbers in a confusion matrix cannot be read
DARK = 158 / 256  # from here on, white has more contrast with CELL_COLORS than black: 4.5 and more
LINE = 20  # characters of a scheme's name, which goes on in a line beside it
CHARACTER = 0.08  # inches, about
SCHEMES_ABREAST = 7  # beside each other; more go below
FEW_IMAGES = 5  # colors span at least so many, so that what one image costs or gives is pale
# In cells, whose colors are the same in light and dark.
_PALE, _GRAY, _BLACK, _WHITE = "#f1f3f5", "#5f6773", "#000000", "#ffffff"
# Sky and blue a shade off: the page gives those two another color in the dark.
CELL_COLORS = LinearSegmentedColormap.from_list("powtwo", [_PALE, "#56b4e8", "#0072b1", "#00304d"])


@project_style()
def confusion(scheme: SchemeResult) -> Figure:
    """Draw how often each actual class was taken for each other; hits are counted, not colored."""
    counts = Counter((row["actual"], row["predicted"]) for row in scheme.plots["predictions"])
    names = sorted({name for pair in counts for name in pair}, key=_natural)
    matrix = np.array([[counts[actual, predicted] for predicted in names] for actual in names])
    errors = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    most = max(1, errors.max())
    figure = canvas(min(WIDTH, 2 + 0.42 * len(names)))
    axes = figure.subplots()
    _color_cells(axes, errors, most)
    if len(names) <= LABELED_CLASSES:
        for row, column in np.ndindex(*matrix.shape):
            if matrix[row, column]:
                color = _GRAY if row == column else cell_ink(float(errors[row, column]), most)
                _write(axes, column, row, str(matrix[row, column]), color)
    axes.set_xticks(range(len(names)), names)
    if max(map(len, names)) > 3:
        axes.tick_params("x", rotation=45)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title(f"Confusion of {scheme.name}")
    return figure


@project_style()
def sqnr(results: Results) -> Figure:
    """Draw the SQNR of each layer's output under each scheme, in dB."""
    values = np.array(
        [[row["sqnr_db"] for row in scheme.plots["layers"]] for scheme in results.schemes]
    )
    missing = values.max() - values  # low values are dark: they are what one looks for
    return _draw(
        results.schemes,
        {"SQNR of each layer's output (dB)": missing},
        {"SQNR of each layer's output (dB)": [[f"{value:.1f}" for value in row] for row in values]},
        max(1, missing.max()),
    )


@project_style()
def sensitivity(results: Results) -> Figure:
    """Draw what each layer costs when it alone is quantized, and gives when it alone is float.

    A scheme without these accuracies is left out. Colors are the same in both, and an image more
    or less is never dark.
    """
    schemes = [scheme for scheme in results.schemes if scheme.layer_sensitivity()]
    if not schemes:
        return _not_measured("evaluate.sensitivity_images is 0")
    rows = [row for scheme in schemes for row in scheme.layer_sensitivity()]
    losses, gains = (
        np.array([row.points for row in rows if row.alone == alone]).reshape(len(schemes), -1)
        for alone in ("quantized", "float")
    )
    panels = {
        "Quantized alone: points lost": -losses,
        "Left in float alone: points gained": gains,
    }
    most = max(*(points.max() for points in panels.values()),
               *(100 * FEW_IMAGES / row.images for row in rows))  # fmt: skip
    texts = {
        title: [[f"{value:z.1f}".replace("-", "−") for value in row] for row in points]
        for title, points in panels.items()
    }
    return _draw(schemes, panels, texts, most)


def _not_measured(why: str) -> Figure:
    figure = canvas(0.6)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0, 0.5, f"not measured: {why}", va="center")
    return figure


def _draw(
    schemes: Sequence[SchemeResult],
    panels: Mapping[str, Matrix],
    texts: Mapping[str, Sequence[Sequence[str]]],
    most: float,
) -> Figure:
    """Draw matrices (scheme, layer) by title, a row for each layer, a few schemes side by side."""
    layers = [f"{row['layer']} {row['kind']}" for row in schemes[0].plots["layers"]]
    count = math.ceil(len(schemes) / SCHEMES_ABREAST)
    blocks = np.array_split(np.arange(len(schemes)), count)
    names = [textwrap.fill(scheme.name, LINE) for scheme in schemes]
    below = CHARACTER * max(len(line) for name in names for line in name.split("\n"))
    figure = canvas(len(panels) * len(blocks) * (0.45 + below + 0.19 * len(layers)))
    grid = iter(figure.subplots(len(panels) * len(blocks), 1, squeeze=False).flat)
    for title, values in panels.items():
        for block in blocks:
            axes = next(grid)
            _color_cells(axes, values[block].T, most)
            for column, scheme in enumerate(block):
                for row, value in enumerate(values[scheme]):
                    text = texts[title][scheme][row]
                    _write(axes, column, row, text, cell_ink(float(value), most))
            axes.set_title(title)
            axes.set_yticks(range(len(layers)), layers)
            axes.set_xticks(range(len(block)), [names[index] for index in block], rotation=90)
    return figure


def _color_cells(axes: Axes, values: Matrix, most: float) -> None:
    """Color a matrix, from pale at 0 to dark at `most`, a cell around each pair of integers."""
    rows, columns = (np.arange(size + 1) - 0.5 for size in values.shape)
    mesh = axes.pcolormesh(columns, rows, values, cmap=CELL_COLORS, vmin=0, vmax=most)
    mesh.set(edgecolors=_WHITE, linewidth=0.5)
    axes.invert_yaxis()


def cell_ink(value: float, most: float) -> str:
    """Return black or white, whichever stands out more on the color of a value."""
    return _WHITE if value / most >= DARK else _BLACK


def _write(axes: Axes, column: int, row: int, text: str, color: str) -> None:
    axes.text(column, row, text, color=color, ha="center", va="center", fontsize=TEXT - 1)


def _natural(name: str) -> tuple[int, str]:
    """Order 10 after 9, and names by the alphabet."""
    return len(name) if name.isdecimal() else 0, name
