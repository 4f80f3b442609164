"""Matrices in color: which classes are confused, and which layers are noisy or sensitive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
    axes.set_title(f"Test images taken for another class: {scheme.name}")
    return figure


@project_style()
def sqnr(results: Results) -> Figure:
    """Draw the SQNR of each layer's output under each scheme, in dB."""
    values = np.array(
        [[row["sqnr_db"] for row in scheme.plots["layers"]] for scheme in results.schemes]
    )
    figure = canvas(1.3 + 0.3 * len(values))
    axes = figure.subplots()
    missing = values.max() - values  # low values are dark: they are what one looks for
    texts = [[f"{value:.1f}" for value in row] for row in values]
    _draw(axes, missing, max(1, missing.max()), texts, results.schemes)
    axes.set_title("SQNR of each layer's output (dB)")
    return figure


@project_style()
def sensitivity(results: Results) -> Figure:
    """Draw what each layer costs when it alone is quantized, and gives when it alone is float.

    A scheme without these accuracies is left out. Colors are the same in both, and an image more
    or less is never dark.
    """
    schemes = [scheme for scheme in results.schemes if scheme.layer_sensitivity()]
    rows = [row for scheme in schemes for row in scheme.layer_sensitivity()]
    figure = canvas(2.4 + 0.6 * max(1, len(schemes)))
    lost, gained = figure.subplots(2, 1)
    lost.set_title("Quantized alone: points lost against the float network")
    gained.set_title("Left in float alone: points gained on the integer network")
    if not schemes:
        for axes in (lost, gained):
            axes.set_axis_off()
        lost.text(0, 0.5, "not measured: evaluate.sensitivity_images is 0", va="center")
        return figure
    losses, gains = (
        np.array([row.points for row in rows if row.alone == alone]).reshape(len(schemes), -1)
        for alone in ("quantized", "float")
    )
    losses = -losses
    most = max(losses.max(), gains.max(), *(100 * FEW_IMAGES / row.images for row in rows))
    for axes, points in ((lost, losses), (gained, gains)):
        texts = [[f"{value:z.1f}".replace("-", "−") for value in row] for row in points]
        _draw(axes, points, most, texts, schemes)
    return figure


def _draw(
    axes: Axes,
    values: Matrix,
    most: float,
    texts: Sequence[Sequence[str]],
    schemes: Sequence[SchemeResult],
) -> None:
    """Color a matrix (scheme, layer) by its values, write texts in its cells and name its axes."""
    _color_cells(axes, values, most)
    for row, column in np.ndindex(*values.shape):
        _write(axes, column, row, texts[row][column], cell_ink(float(values[row, column]), most))
    layers = [f"{row['layer']}\n{row['kind']}" for row in schemes[0].plots["layers"]]
    axes.set_xticks(range(len(layers)), layers, fontsize=TEXT - 1)
    axes.set_yticks(range(len(schemes)), [scheme.name for scheme in schemes])


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
