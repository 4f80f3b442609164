"""Rounding modes of the requantizing shift: all that a mode means, in one place.

Most modes add a constant to the accumulator and shift to the right, which floors. A further mode
is a further member here, and a word in each export format that has one for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # parameters are checked without waiting for PyTorch
    from torch import Tensor


class Rounding(StrEnum):
    """How a shift by n bits rounds; n = 0 changes nothing in each."""

    FLOOR = "floor"  # what shift hardware does
    HALF_UP = "half_up"  # to nearest, halves up
    HALF_EVEN = "half_even"  # to nearest, halves to even: ONNX Runtime, PyTorch, Gemmini

    @classmethod
    def _missing_(cls, value: object) -> Rounding:
        raise ValueError(f"rounding = {value!r}: must be one of {', '.join(cls)}")

    def shift(self, accumulators: Tensor, n: Tensor) -> Tensor:
        """Shift int64 accumulators by int64 n, 0 … 31, of a shape that broadcasts."""
        constant = self.bias_constant(n)
        if constant is None:
            # Just under half is added to an even result and half to an odd one: ties end even.
            odd = (accumulators >> n) & 1
            constant = (half_unit(n) - 1 + odd) * (n > 0)
        return (accumulators + constant) >> n

    def bias_constant(self, n: Tensor) -> Tensor | None:
        """Return what a plain floor shift needs in the bias to round like this, int64 like n.

        None where no constant does: what is added then depends on the accumulator.
        """
        if self is Rounding.FLOOR:
            return 0 * n
        return half_unit(n) if self is Rounding.HALF_UP else None

    @property
    def folds(self) -> bool:
        """Tell whether exports for floor hardware add `bias_constant`, which is not 0."""
        return self is Rounding.HALF_UP

    @property
    def formula(self) -> str:
        """Return shift(a, n) in operators of C."""
        return {
            Rounding.FLOOR: "a >> n",
            Rounding.HALF_UP: "(a + 2^(n-1)) >> n; n = 0: a",
            Rounding.HALF_EVEN: "(a + 2^(n-1) - 1 + ((a >> n) & 1)) >> n; n = 0: a",
        }[self]

    def steps(self, x: Tensor) -> Tensor:
        """Round floats, in units of the output's scale, to whole numbers in this mode."""
        return self.steps_(x.clone())

    def steps_(self, x: Tensor) -> Tensor:
        """Do what `steps` does in place, as an engine must that waits for memory."""
        if self is Rounding.HALF_EVEN:
            return x.round_()
        if self is Rounding.HALF_UP:
            x += 0.5
        return x.floor_()

    def after_half_even(self, n: Tensor) -> Tensor | None:
        """Return what a kernel that rounds half to even needs in its bias to round like this.

        Float64 multiples of one half. Where accumulators are whole and n > 0, an odd multiple
        leaves no ties. None where no constant does.
        """
        if self is Rounding.HALF_EVEN:
            return 0 * n.double()
        constant = self.bias_constant(n)
        return None if constant is None else constant + (0.5 - half_unit(n).double()) * (n > 0)


def half_unit(n: Tensor) -> Tensor:
    """Return half of 2^n, and 0 where n is 0."""
    return (1 << n) >> 1
