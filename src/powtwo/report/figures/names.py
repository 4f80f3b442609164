"""Names beside the points of a picture; `labels` finds their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.text import Annotation

from powtwo.report.figures import labels, style

Point = tuple[float, float]

SAME = 3  # points of 1/72 inch: markers so near each other share a label
MARKER = 4  # points, from the middle of a marker to its edge


class Name(NamedTuple):
    """What to write beside a point."""

    text: str
    at: Point  # in the units of the axes
    color: str = style.INK
    weight: str = "normal"
    needed: bool = True  # also where it takes a leader; others are then left out


def write(axes: Axes, names: Sequence[Name], lines: Sequence[tuple[Point, Point]]) -> None:
    """Write names, those of one point in one label, as a layout that is fixed has room.

    Args:
        axes: whose limits and place stay as they are.
        names: of all points.
        lines: upright, from their lower to their upper end, which labels should not cover.
    """
    at = [_position(axes, name.at) for name in names]
    obstacles = [labels.Box(x - MARKER, y - MARKER, x + MARKER, y + MARKER) for x, y in at]
    for (x, low), (_, high) in ([_position(axes, end) for end in line] for line in lines):
        obstacles.append(labels.Box(x - 1, low, x + 1, high))
    groups = _group(at)
    while True:
        texts = [_annotate(axes, [names[index] for index in group]) for group in groups]
        places = _place(axes, [at[group[0]] for group in groups], texts, obstacles)
        kept = [
            group for group, place in zip(groups, places, strict=True)
            if place.distance <= labels.CLOSE or any(names[index].needed for index in group)
        ]  # fmt: skip
        if kept == groups:
            break
        groups = kept  # which have more room then
        for text in texts:
            text.remove()
    for text, place in zip(texts, places, strict=True):
        text.set_position((place.box.left + 2, place.box.bottom))
        if place.distance > labels.CLOSE:
            _lead(axes, place)


def _position(axes: Axes, point: Point) -> Point:
    """Return where a point lies, in points of 1/72 inch from the lower left corner of the axes."""
    x, y = (axes.transData.transform(point) - axes.bbox.p0) * 72 / axes.figure.dpi
    return float(x), float(y)


def _group(at: Sequence[Point]) -> list[list[int]]:
    """List the indices of markers that lie on one another, in order."""
    groups: list[list[int]] = []
    for index, place in enumerate(at):
        near = (group for group in groups if math.dist(at[group[0]], place) < SAME)
        if (group := next(near, None)) is None:
            groups.append([index])
        else:
            group.append(index)
    return groups


def _annotate(axes: Axes, names: Sequence[Name]) -> Annotation:
    weight = max((name.weight for name in names), key=lambda weight: weight == "bold")
    text = "\n".join(name.text for name in names)
    return axes.annotate(text, (0, 0), xycoords="axes points", color=names[-1].color,
                         weight=weight, linespacing=1.1)  # fmt: skip


def _place(
    axes: Axes, at: Sequence[Point], texts: Sequence[Annotation], obstacles: Sequence[labels.Box]
) -> list[labels.Place]:
    to_points = 72 / axes.figure.dpi
    extents = [text.get_window_extent() for text in texts]
    return labels.place(
        at,
        [(extent.width * to_points + 4, extent.height * to_points) for extent in extents],
        (axes.bbox.width * to_points, axes.bbox.height * to_points),
        obstacles,
    )


def _lead(axes: Axes, place: labels.Place) -> None:
    axes.annotate(
        "", place.start, place.end, "axes points", "axes points",
        arrowprops={"arrowstyle": "-", "color": style.FAINT, "linewidth": 0.7, "shrinkA": 1,
                    "shrinkB": 4},
    )  # fmt: skip
