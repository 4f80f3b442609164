"""Every assignment of options to a chain of layers that no other beats in energy and in loss.

What a layer costs depends on the codes that it reads, which the layer before it gives. So partial
assignments are kept by these codes, and of those with the same codes the ones that another beats
are dropped: whatever follows, the other one stays better. What is left at the end is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Option:
    """What a layer may be."""

    energy: Mapping[Hashable, int]  # by the codes that it reads, in any unit
    loss: int  # that it adds, in any unit; below 0 where it gains
    gives: Hashable  # the codes of its output


class Assignment(NamedTuple):
    """The option of each layer so far, and their sums; ordered by energy, then loss, then picks."""

    energy: int
    loss: int
    picks: tuple[int, ...]  # an index for each layer


def pareto(layers: Sequence[Sequence[Option]], reads: Hashable) -> list[Assignment]:
    """Return the assignments by rising energy and falling loss.

    Of several with the same energy and loss, the first in the order of the options is kept.

    Args:
        layers: the options of each layer, in the order of the chain.
        reads: the codes that the first layer reads.
    """
    best: dict[Hashable, list[Assignment]] = {reads: [Assignment(0, 0, ())]}
    for options in layers:
        extended: dict[Hashable, list[Assignment]] = defaultdict(list)
        for codes, assignments in best.items():
            for pick, option in enumerate(options):
                energy, loss = option.energy[codes], option.loss
                extended[option.gives] += [
                    Assignment(each.energy + energy, each.loss + loss, (*each.picks, pick))
                    for each in assignments
                ]
        best = {codes: _undominated(assignments) for codes, assignments in extended.items()}
    return _undominated([each for assignments in best.values() for each in assignments])


def _undominated(assignments: list[Assignment]) -> list[Assignment]:
    kept: list[Assignment] = []
    for each in sorted(assignments):
        if not kept or each.loss < kept[-1].loss:
            kept.append(each)
    return kept
