"""Where the labels of points go, so that none covers another and no leader crosses another.

Each label in turn takes the cheapest place around its point given where the others are, until none
moves: coordinate descent, from a few orders of the labels, the same result each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

DISTANCES = (6, 9, 14, 24, 36, 50, 66, 84, 104)  # from a point to its label, in points
DIRECTIONS = 24  # tried around a point
SWEEPS = 12  # at most; a few are enough
CLOSE = 7  # points; a label so near needs no leader


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
        obstacles: what labels and leaders should not cover: markers and intervals.
    """
    choices = [
        [(place, _own_cost(place, frame, obstacles)) for place in _choices(point, size)]
        for point, size in zip(points, sizes, strict=True)
    ]
    # Where the search ends depends on who chooses first.
    keys: Sequence[Callable[[int], float]] = (
        lambda index: index,
        lambda index: points[index][0], lambda index: -points[index][0],
        lambda index: points[index][1], lambda index: -points[index][1],
    )  # fmt: skip
    found = [_search(choices, sorted(range(len(points)), key=key)) for key in keys]
    return min(found, key=lambda result: result[0])[1]


def _search(
    choices: Sequence[Sequence[tuple[Place, float]]], order: Sequence[int]
) -> tuple[float, list[Place]]:
    """Let each label choose given the others, until none moves; return the sum of costs too."""
    placed: dict[int, tuple[Place, float]] = {}
    for _ in range(SWEEPS):
        before = dict(placed)
        for index in order:
            others = [place for other, (place, _) in placed.items() if other != index]
            costs = [cost + _between(place, others) for place, cost in choices[index]]
            placed[index] = choices[index][costs.index(min(costs))]
        if placed == before:
            break
    places = [placed[index][0] for index in range(len(choices))]
    own = sum(cost for _, cost in placed.values())
    return own + sum(_between(place, places[:i]) for i, place in enumerate(places)), places


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


def _own_cost(place: Place, frame: tuple[float, float], obstacles: Sequence[Box]) -> float:
    """Return what a place costs wherever the other labels are."""
    box = place.box
    outside = (box.right - box.left) * (box.top - box.bottom) - box.overlap(Box(0, 0, *frame))
    passed = [each for each in obstacles if not _holds(each, place) and _through(place, each)]
    covered = sum(box.overlap(obstacle) for obstacle in obstacles)
    return place.distance + 1e4 * outside + 20 * covered + 30 * len(passed)


def _holds(box: Box, place: Place) -> bool:
    """Tell whether a rectangle is around the point of a label, where its leader begins."""
    x, y = place.start
    return box.left <= x <= box.right and box.bottom <= y <= box.top


def _between(place: Place, others: Sequence[Place]) -> float:
    """Return what a place costs for the other labels: overlaps, and leaders that cross or pass."""
    cost = 0.0
    for other in others:
        cost += 1e3 * place.box.overlap(other.box) + 1e5 * crosses(place, other)
        cost += 1e4 * (_through(place, other.box) + _through(other, place.box))
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
    if max(x0, x1) <= box.left or min(x0, x1) >= box.right:
        return False
    if max(y0, y1) <= box.bottom or min(y0, y1) >= box.top:
        return False
    steps = max(1, round(math.hypot(x1 - x0, y1 - y0) / 3))
    along = (step / steps for step in range(steps + 1))
    return any(
        box.left < x0 + t * (x1 - x0) < box.right and box.bottom < y0 + t * (y1 - y0) < box.top
        for t in along
    )
