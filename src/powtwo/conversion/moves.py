"""Exponents that conversion had to coarsen, and why."""

from __future__ import annotations

from dataclasses import dataclass

SHIFT = "its shift within 0 to 31"  # what an exponent is moved for
ACCUMULATORS = "accumulators below 2^{}"
ADDABLE = "accumulators below 2^31, and shifts, where it is added"


@dataclass(frozen=True)
class Move:
    """An exponent that had to be coarsened to keep a shift or an accumulator within its range."""

    layer: int
    tensor: str  # output or weight
    before: int
    after: int
    kept: str = SHIFT
    channel: int | None = None  # whose it is; None where all channels share it

    def __str__(self) -> str:
        whose = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"layer {self.layer}{whose}: {self.tensor} exponent {self.before} -> {self.after}, "
            f"to keep {self.kept}"
        )
