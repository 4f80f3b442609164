"""Matrices in color: which classes are confused, and which layers are noisy or sensitive."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from powtwo.report.figures import style
from powtwo.report.figures.style import TEXT, WIDTH, canvas, project_style
from powtwo.report.results import Results, SchemeResult

Matrix = NDArray[np.float64]

LABELED_CLASSES = 20  # beyond these, numbers in a confusion matrix cannot be read
NAME = 20  # characters of a scheme's name, which goes on in a line beside it
CHARACTER, LINE_HEIGHT = 0.08, 0.15  # inches, about
CELLS = 3.0  # inches that cells are wide together, about
SCHEMES_ABREAST = 7  # beside each other; more go below
FEW_IMAGES = 5  # colors span at least so many, so that what one image costs or gives is pale
CELL_COLORS = ListedColormap(style.HEAT)
DEEP = 4  # from this color on, a text is the color of paper, in light and dark


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
                color = style.QUIET if row == column else cell_ink(float(errors[row, column]), most)
                _write(axes, column, row, str(matrix[row, column]), color)
    axes.set_xticks(range(len(names)), names)
    if max(map(len, names)) > 3:
        axes.tick_params("x", rotation=45)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title(textwrap.fill(f"Confusion of {scheme.name} (test images)", style.LINE))
    return figure


@project_style()
def sqnr(results: Results) -> Figure:
    """Draw the SQNR of each layer's output under each scheme, in dB."""
    values = np.array(
        [[row["sqnr_db"] for row in scheme.plots["layers"]] for scheme in results.best_first]
    )
    missing = values.max() - values  # low values are strong: they are what one looks for
    return _draw(
        results.best_first,
        {"SQNR of each layer's output (dB)": missing},
        {"SQNR of each layer's output (dB)": [[f"{value:.1f}" for value in row] for row in values]},
        max(1, missing.max()),
    )


@project_style()
def sensitivity(results: Results) -> Figure:
    """Draw what each layer costs when it alone is quantized, and gives when it alone is float.

    A scheme without these accuracies is left out. Colors are of the size of the effect, the same in
    both and for either sign, and an image more or less is never strong.
    """
    schemes = [scheme for scheme in results.best_first if scheme.layer_sensitivity()]
    if not schemes:
        return _nothing_drawn("not measured: evaluate.sensitivity_images is 0")
    rows = [row for scheme in schemes for row in scheme.layer_sensitivity()]
    if not any(row.points for row in rows):
        return _nothing_drawn(f"no layer alone changes the accuracy on {rows[0].images:,} images")
    losses, gains = (
        np.array([row.points for row in rows if row.alone == alone]).reshape(len(schemes), -1)
        for alone in ("quantized", "float")
    )
    panels = {
        "Quantized alone: points lost": -losses,
        "Left in float alone: points gained": gains,
    }
    most = max(*(abs(points).max() for points in panels.values()),
               *(100 * FEW_IMAGES / row.images for row in rows))  # fmt: skip
    texts = {
        title: [[f"{value:z.2f}".replace("-", "−") for value in row] for row in points]
        for title, points in panels.items()
    }
    sizes = {title: np.abs(points) for title, points in panels.items()}
    return _draw(schemes, sizes, texts, most)


def _nothing_drawn(why: str) -> Figure:
    figure = canvas(0.6)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(0, 0.5, why, va="center")
    return figure


def _draw(
    schemes: Sequence[SchemeResult],
    panels: Mapping[str, Matrix],
    texts: Mapping[str, Sequence[Sequence[str]]],
    most: float,
) -> Figure:
    """Draw matrices (scheme, layer) by title, a row for each layer, a few schemes side by side."""
    layers = [schemes[0].layer_names[row["layer"]] for row in schemes[0].plots["layers"]]
    count = math.ceil(len(schemes) / SCHEMES_ABREAST)
    blocks = np.array_split(np.arange(len(schemes)), count)
    names, upright = _wrapped([scheme.name for scheme in schemes], len(blocks[0]))
    lines = [name.split("\n") for name in names]
    below = CHARACTER * max(len(line) for name in lines for line in name) if upright else (
        LINE_HEIGHT * max(map(len, lines))
    )  # fmt: skip
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
            axes.set_xticks(
                range(len(block)), [names[index] for index in block], rotation=90 * upright
            )
    return figure


def _wrapped(names: Sequence[str], abreast: int) -> tuple[list[str], bool]:
    """Wrap names below columns of cells, and tell whether they must stand upright to fit."""
    room = int(CELLS / abreast / CHARACTER)
    wrapped = [textwrap.wrap(name, room, break_long_words=False) for name in names]
    if max(len(line) for lines in wrapped for line in lines) > room:
        return [textwrap.fill(name, NAME) for name in names], True
    most = max(map(len, wrapped))
    # As many lines in each, so that their first lines are at one height.
    return ["\n".join([*lines, *[""] * (most - len(lines))]) for lines in wrapped], False


def _color_cells(axes: Axes, values: Matrix, most: float) -> None:
    """Color a matrix, from pale at 0 to strong at `most`, a cell around each pair of integers."""
    rows, columns = (np.arange(size + 1) - 0.5 for size in values.shape)
    mesh = axes.pcolormesh(columns, rows, values, cmap=CELL_COLORS, vmin=0, vmax=most)
    mesh.set(edgecolors=style.PAPER, linewidth=0.5)
    axes.invert_yaxis()


def cell_ink(value: float, most: float) -> str:
    """Return the color of a text on the color of a value."""
    return style.PAPER if value / most * len(style.HEAT) >= DEEP else style.INK


def _write(axes: Axes, column: int, row: int, text: str, color: str) -> None:
    axes.text(column, row, text, color=color, ha="center", va="center", fontsize=TEXT - 1)


def _natural(name: str) -> tuple[int, str]:
    """Order 10 after 9, and names by the alphabet."""
    return len(name) if name.isdecimal() else 0, name
