"""Observers: from the values of a tensor to the exponent of its power-of-two scale.

An observer is a statistic and a choice of exponent, put together by name: `minmax-ceil` is the
smallest power of two that holds the largest magnitude. Its clamp and what happens to zeros and to
values that are not finite are here; the statistics are in `statistics`.

Source: the course's `PowerOfTwoObserver`: s₀ = 2·max|x| / (q_max − q_min), e = round(log2 s₀),
clamped to [−8, 0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from powtwo.calibration.statistics import MinMax, Restriction, Statistic
from powtwo.integer.fixedpoint import Grid


@dataclass(frozen=True)
class PerTensor:
    """One exponent for a whole tensor."""


@dataclass(frozen=True)
class PerAxis:
    """An exponent for each index along an axis, such as 0 for the output channels of weights."""

    axis: int


class Observer:
    """Sees a tensor piece by piece and ends with an exponent, or one for each channel.

    Args:
        name: a statistic and a choice of exponent, as `names` lists them.
        grid: the codes that the tensor may take.
        clamp: lowest and highest exponent, or None.
        granularity: what has an exponent of its own.
        tensor: what an error calls it.

    Raises:
        ValueError: where no observer has this name.
    """

    def __init__(
        self,
        name: str,
        grid: Grid,
        clamp: Sequence[int] | None = None,
        granularity: PerTensor | PerAxis = PerTensor(),
        tensor: str = "tensor",
    ) -> None:
        if name not in (known := _known()):
            raise ValueError(f"observer = {name!r}: must be one of {', '.join(sorted(known))}")
        statistic, self.restrict = known[name]
        self.statistic = statistic(grid)
        self.clamp, self.granularity, self.tensor = clamp, granularity, tensor

    def forward(self, x: Tensor) -> Tensor:
        """Take a piece of the tensor into account and hand it on unchanged.

        Raises:
            ValueError: where it holds an infinity or a NaN, naming the tensor.
        """
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{self.tensor} holds an infinity or a NaN; nothing is quantized")
        if x.numel():
            values = x.detach().double()
            if isinstance(self.granularity, PerAxis):
                values = values.movedim(self.granularity.axis, 0)
                self.statistic.update(values.reshape(len(values), -1))
            else:
                self.statistic.update(values.reshape(1, -1))
        return x

    def calculate_qparams(self) -> tuple[Tensor, int]:
        """Return the exponent e of the scale 2^e, int64 of shape () or (C,), and the zero point.

        e is 0 for what is zero throughout, and within the clamp where there is one.
        """
        exponent = self.restrict(self.statistic.scale())
        exponent = torch.where(self.statistic.largest > 0, exponent, 0)
        if self.clamp is not None:
            exponent = exponent.clamp(*self.clamp)
        per_tensor = isinstance(self.granularity, PerTensor)
        return exponent[0] if per_tensor else exponent, self.statistic.grid.zero_point


def names() -> list[str]:
    """Return the name of every observer."""
    return sorted(_known())


def _known() -> dict[str, tuple[type[Statistic], Restriction]]:
    return {"lab": (MinMax, MinMax.choices["-round"])} | {
        statistic.name + choice: (statistic, restrict)
        for statistic in Statistic.known.values()
        for choice, restrict in statistic.choices.items()
    }
