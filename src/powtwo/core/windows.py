"""Kernels, strides and paddings of windows that slide over images: numbers, or lists of them.

A kernel or a stride is a number or [rows, columns]; a padding is a number, [rows, columns] or
[top, left, bottom, right], in ONNX's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Sides = int | Sequence[int]
Pair = tuple[int, int]
Four = tuple[int, int, int, int]


def pair(sides: Sides) -> Pair:
    """Return (rows, columns) of a kernel or a stride."""
    if isinstance(sides, int):
        return sides, sides
    rows, columns = sides
    return rows, columns


def four(padding: Sides) -> Four:
    """Return (top, left, bottom, right) of a padding."""
    if isinstance(padding, int) or len(padding) == 2:
        rows, columns = pair(padding)
        return rows, columns, rows, columns
    top, left, bottom, right = padding
    return top, left, bottom, right


def shortest(sides: Sides) -> int | list[int]:
    """Return a kernel, a stride or a padding as files have it: in as few numbers as say it."""
    if isinstance(sides, int):
        return sides
    values = list(sides)
    if len(values) == 4 and values[:2] == values[2:]:
        values = values[:2]
    return values[0] if len(set(values)) == 1 else values


def symmetric(padding: Sides) -> Pair | None:
    """Return (rows, columns) of a padding that is the same on opposite sides; None of another."""
    top, left, bottom, right = four(padding)
    return (top, left) if (top, left) == (bottom, right) else None


def pad_argument(padding: Sides) -> list[int]:
    """Return a padding in the order of PyTorch's `pad`: left, right, top, bottom."""
    top, left, bottom, right = four(padding)
    return [left, right, top, bottom]


def fits(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    """Return how often a kernel fits on one side of an image; below 1 where it is too large."""
    return (size + before + after - kernel) // stride + 1


def is_one_wide(width: int, kernel: Sides, stride: Sides, padding: Sides) -> bool:
    """Tell whether a kernel fits once across an image, however far it would go on from there.

    oneDNN's kernels (of PyTorch 2.13) give wrong sums there for batches of some sizes, where the
    stride across is above 1.
    """
    (_, wide), (_, across), (_, left, _, right) = pair(kernel), pair(stride), four(padding)
    return across > 1 and fits(width, wide, across, left, right) == 1


def average_bits(kernel: Sides) -> int:
    """Return m = ⌈log2 k⌉ of a window of k positions, of which an average takes Σ / 2^m."""
    return (prod(pair(kernel)) - 1).bit_length()
