"""Where the labels of points go, so that none covers another and no leader crosses another.

Each label tries places around its point, near ones first, and takes the cheapest given where the
others are; this repeats until none moves (coordinate descent, the same result each time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

DISTANCES = (7, 14, 24, 36, 50, 66, 84, 104)  # from a point to its label, in points
DIRECTIONS = 24  # tried around a point
SWEEPS = 12  # at most; a few are enough
CLOSE = 9  # points; a label so near needs no leader


class Box(NamedTuple):
    """A rectangle, in points from the lower left corner of the axes."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Return the area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)


class Place(NamedTuple):
    """A label's rectangle and the leader from its point to it."""

    box: Box
    start: tuple[float, float]  # the point
    end: tuple[float, float]  # on the edge of the box
    distance: float


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    frame: tuple[float, float],
    obstacles: Sequence[Box],
) -> list[Place]:
    """Place a label for each point.

    Args:
        points: x and y of each, in points of 1/72 inch.
        sizes: width and height of each label.
        frame: width and height that all labels stay within.
        obstacles: what labels should not cover: markers and intervals.
    """
    choices = [list(_choices(*pair)) for pair in zip(points, sizes, strict=True)]
    placed = [of_one[0] for of_one in choices]
    for _ in range(SWEEPS):
        before = list(placed)
        for index, of_one in enumerate(choices):
            others = placed[:index] + placed[index + 1 :]
            placed[index] = min(of_one, key=lambda p: _cost(p, others, frame, obstacles))
        if placed == before:
            break
    return placed


def _choices(point: tuple[float, float], size: tuple[float, float]) -> Iterator[Place]:
    (x, y), (width, height) = point, size
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            cos, sin = math.cos(angle), math.sin(angle)
            # The box touches the circle with the corner or the edge that faces the point.
            middle_x = x + distance * cos + width / 2 * _side(cos)
            middle_y = y + distance * sin + height / 2 * _side(sin)
            box = Box(middle_x - width / 2, middle_y - height / 2,
                      middle_x + width / 2, middle_y + height / 2)  # fmt: skip
            end = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
            yield Place(box, point, end, distance)


def _side(slope: float) -> float:
    """Return which side of the box faces its point: −1, 0 for the middle, 1."""
    return 0.0 if abs(slope) < 0.2 else math.copysign(1.0, slope)


def _cost(
    candidate: Place, others: Sequence[Place], frame: tuple[float, float], obstacles: Sequence[Box]
) -> float:
    box = candidate.box
    inside = Box(0, 0, *frame)
    outside = (box.right - box.left) * (box.top - box.bottom) - box.overlap(inside)
    cost = candidate.distance + 1e4 * outside
    cost += 20 * sum(box.overlap(obstacle) for obstacle in obstacles)
    cost += 30 * sum(_through(candidate, obstacle) for obstacle in obstacles)
    for other in others:
        cost += 1e3 * box.overlap(other.box)
        cost += 1e5 * crosses(candidate, other)
        cost += 1e4 * (_through(candidate, other.box) + _through(other, box))
    return cost


def crosses(one: Place, other: Place) -> bool:
    """Tell whether two leaders cross."""
    a, b, c, d = one.start, one.end, other.start, other.end
    return (
        _turn(a, b, c) * _turn(a, b, d) < 0
        and _turn(c, d, a) * _turn(c, d, b) < 0
    )  # fmt: skip


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _through(leader: Place, box: Box) -> bool:
    """Tell whether a leader passes through a rectangle."""
    (x0, y0), (x1, y1) = leader.start, leader.end
    steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / 3))
    along = (step / steps for step in range(steps + 1))
    return any(
        box.left < x0 + t * (x1 - x0) < box.right and box.bottom < y0 + t * (y1 - y0) < box.top
        for t in along
    )


def tangles(places: Sequence[Place]) -> int:
    """Count pairs of labels that cover one another or whose leaders cross."""
    return sum(
        one.box.overlap(other.box) > 0 or crosses(one, other)
        for one, other in combinations(places, 2)
    )
