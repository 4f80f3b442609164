"""Matrices in color: which classes are confused, and which layers are noisy or sensitive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from powtwo.report.figures import TEXT, WIDTH, canvas, style
from powtwo.report.results import Results, SchemeResult, layer_sensitivity

LABELED_CLASSES = 20  # beyond these, numbers in a confusion matrix cannot be read
FEW_IMAGES = 5  # colors span at least so many, so that what one image costs or gives is pale
# In cells, whose colors are the same in light and dark.
_PALE, _GRAY, _BLACK, _WHITE = "#f1f3f5", "#5f6773", "#000000", "#ffffff"
# Sky and blue a shade off: the page gives those two another color in the dark.
_COLORS = LinearSegmentedColormap.from_list("powtwo", [_PALE, "#56b4e8", "#0072b1", "#00304d"])


def confusion(scheme: SchemeResult) -> Figure:
    """Draw how often each actual class was taken for each other; hits are counted, not colored."""
    rows = scheme.tables["predictions"]
    counts = Counter((row["actual"], row["predicted"]) for row in rows)
    names = sorted({name for pair in counts for name in pair}, key=_natural)
    matrix = np.array([[counts[actual, predicted] for predicted in names] for actual in names])
    errors = np.where(np.eye(len(names), dtype=bool), 0, matrix)
    most = max(1, errors.max())
    with style():
        figure = canvas(min(WIDTH, 2 + 0.42 * len(names)))
        axes = figure.subplots()
        _cells(axes, errors, most)
        if len(names) <= LABELED_CLASSES:
            for row, column in np.ndindex(*matrix.shape):
                if matrix[row, column]:
                    color = _GRAY if row == column else _ink(float(errors[row, column]), most)
                    _write(axes, column, row, str(matrix[row, column]), color)
        axes.set_xticks(range(len(names)), names)
        if max(map(len, names)) > 3:
            axes.tick_params("x", rotation=45)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")
        axes.set_title(f"Test images taken for another class: {scheme.name}")
    return figure


def sqnr(results: Results) -> Figure:
    """Draw the SQNR of each layer's output under each scheme, in dB."""
    tables = [scheme.tables["layers"] for scheme in results.schemes]
    values = np.array([[row["sqnr_db"] for row in rows] for rows in tables])
    with style():
        figure = canvas(1.3 + 0.3 * len(tables))
        axes = figure.subplots()
        # Dark is bad: it is the low values that one looks for.
        missing = values.max() - values
        texts = [[f"{value:.1f}" for value in row] for row in values]
        _numbers(axes, missing, max(1, missing.max()), texts)
        _name(axes, results.schemes)
        axes.set_title("SQNR of each layer's output (dB)")
    return figure


def sensitivity(results: Results) -> Figure:
    """Draw what each layer costs when it alone is quantized, and gives when it alone is float.

    A scheme without these accuracies is left out. Colors are the same in both, and an image more
    or less is never dark.
    """
    rows = layer_sensitivity(results)
    named = {row[0] for row in rows}
    found = [scheme for scheme in results.schemes if scheme.name in named]
    with style():
        figure = canvas(2.4 + 0.6 * max(1, len(found)))
        lost, won = figure.subplots(2, 1)
        lost.set_title("Quantized alone: points lost against the float network")
        won.set_title("Left in float alone: points gained on the integer network")
        if not found:
            _nothing(lost, "not measured: evaluate.sensitivity_images is 0")
            _nothing(won, "")
            return figure
        costs = _matrix([-row[-1] for row in rows if row[3] == "quantized"], found)
        gains = _matrix([row[-1] for row in rows if row[3] == "float"], found)
        most = max(costs.max(), gains.max(), *(100 * FEW_IMAGES / row[4] for row in rows))
        for axes, points in ((lost, costs), (won, gains)):
            _numbers(axes, points, most, [[_signed(value) for value in row] for row in points])
            _name(axes, found)
    return figure


def _matrix(points: Sequence[float], schemes: Sequence[SchemeResult]) -> Any:
    """Return points as an array (schemes, layers)."""
    return np.array(points).reshape(len(schemes), -1)


def _nothing(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0, 0.5, text, va="center")


def _signed(points: float) -> str:
    text = f"{points:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def _numbers(axes: Axes, values: Any, most: float, texts: Sequence[Sequence[str]]) -> None:
    """Color a matrix, and write in each cell what its text is."""
    _cells(axes, values, most)
    for row, column in np.ndindex(*values.shape):
        _write(axes, column, row, texts[row][column], _ink(values[row, column], most))


def _name(axes: Axes, schemes: Sequence[SchemeResult]) -> None:
    """Name the columns by layer and the rows by scheme."""
    heads = [f"{row['layer']}\n{row['kind']}" for row in schemes[0].tables["layers"]]
    axes.set_xticks(range(len(heads)), heads, fontsize=TEXT - 1)
    axes.set_yticks(range(len(schemes)), [scheme.name for scheme in schemes])


def _cells(axes: Axes, values: Any, most: float) -> None:
    """Color a matrix, from pale at 0 to dark at `most`, a cell around each pair of integers."""
    rows, columns = (np.arange(size + 1) - 0.5 for size in values.shape)
    mesh = axes.pcolormesh(columns, rows, values, cmap=_COLORS, vmin=0, vmax=most)
    mesh.set(edgecolors=_WHITE, linewidth=0.5)
    axes.invert_yaxis()


def _ink(value: float, most: float) -> str:
    """Return black or white, whichever stands out more on the color of a value.

    By the relative luminance of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance): at
    0.179 the contrast to both is 4.6, and so never below the 4.5 that texts need.
    """
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in _COLORS(value / most)[:3]
    )
    return _WHITE if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179 else _BLACK


def _write(axes: Axes, column: int, row: int, text: str, color: str) -> None:
    axes.text(column, row, text, color=color, ha="center", va="center", fontsize=TEXT - 1)


def _natural(name: str) -> tuple[int, str]:
    """Order 10 after 9, and names by the alphabet."""
    return len(name) if name.isdecimal() else 0, name
