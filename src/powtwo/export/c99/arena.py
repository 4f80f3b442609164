"""Where in one arena each layer's codes lie, so that no two that are alive at a time overlap.

A stack writes at either end by turns, and needs no more than the largest input and output of one
layer together. Of a graph, codes are placed one after the other, each at the lowest place that is
free while they live, in several orders, of which the one that needs least is taken.

Source: greedy by size, Pisarchyk and Lee 2020, https://arxiv.org/abs/2001.03288, §5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple


class Block(NamedTuple):
    """Codes that are alive from the step that writes them to the last that reads them."""

    size: int  # bytes
    first: int  # step
    last: int  # step, its end included


class Plan(NamedTuple):
    """The offset of each block, and the bytes of the whole."""

    offsets: list[int]
    size: int


def plan(blocks: Sequence[Block]) -> Plan:
    """Place blocks, which are in the order of their first steps."""
    if all(one.last == other.first for one, other in pairwise(blocks)):
        return _by_turns(blocks)
    orders = (
        sorted(range(len(blocks)), key=key)
        for key in (
            lambda i: -blocks[i].size,
            lambda i: (blocks[i].first - blocks[i].last, -blocks[i].size),
            lambda i: i,
        )
    )
    return min((_greedy(blocks, order) for order in orders), key=lambda found: found.size)


def most_alive(blocks: Sequence[Block]) -> int:
    """Return the bytes that are alive together at most: no plan needs fewer."""
    steps = {block.first for block in blocks}
    alive = ((b.size for b in blocks if b.first <= step <= b.last) for step in steps)
    return max(map(sum, alive), default=0)


def _by_turns(blocks: Sequence[Block]) -> Plan:
    pairs = (one.size + other.size for one, other in pairwise(blocks))
    size = max([*pairs, *(block.size for block in blocks[:1])], default=0)
    offsets = [size - b.size if turn % 2 else 0 for turn, b in enumerate(blocks)]
    return Plan(offsets, size)


def _greedy(blocks: Sequence[Block], order: Iterable[int]) -> Plan:
    offsets: dict[int, int] = {}
    for index in order:
        block = blocks[index]
        taken = sorted(
            (offset, offset + blocks[other].size)
            for other, offset in offsets.items()
            if blocks[other].first <= block.last and block.first <= blocks[other].last
        )
        place = 0
        for start, end in taken:
            if place + block.size <= start:
                break
            place = max(place, end)
        offsets[index] = place
    size = max((offset + blocks[i].size for i, offset in offsets.items()), default=0)
    return Plan([offsets[i] for i in range(len(blocks))], size)
