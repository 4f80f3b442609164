"""Which few images stand for many."""

from __future__ import annotations


def evenly(total: int, count: int) -> list[int]:
    """Return `count` indices evenly spaced over `total`, or all where there are fewer.

    Test images may stand class by class: the first few are then of one class, and these are not.
    """
    count = min(count, total)
    return [index * total // count for index in range(count)]
