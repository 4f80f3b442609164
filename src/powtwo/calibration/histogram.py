"""A histogram for each channel that neither the order nor the size of the pieces can change.

Its bins are a power of two wide and begin at 0. When a value lies beyond them, neighbors are
merged until it fits: exactly what wider bins would have counted from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from powtwo.integer.fixedpoint import scaled

HALF = 2**14  # bins on each side of 0: at least 64 for each step of 8 bits that just hold the range
_FINEST = -1000  # exponent of the narrowest bins, for which 2^-e is still a float64


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of all channels that hold something, by channel and then by value; int64 (B,)."""

    channel: Tensor
    middle: Tensor  # in half bins, 2^(exponent − 1)
    count: Tensor


class GrowingHistogram:
    """Counts of values in bins 2^exponent wide, from −2^exponent·HALF up to as much."""

    middles = 2 * torch.arange(-HALF, HALF) + 1  # of the bins, in half bins: exact on any grid

    def __init__(self) -> None:
        """Begin with nothing counted; values bring the number of channels along."""
        self.exponent = torch.tensor([_FINEST])  # (C,)
        self.counts = torch.zeros(1, 2 * HALF, dtype=torch.int64)  # (C, 2·HALF)

    def update(self, x: Tensor) -> None:
        """Count finite float64 values (C, n)."""
        largest = x.abs().amax(1)
        # So wide that largest < 2^width · HALF; zeros lie in the bin at 0, whatever its width.
        width = torch.frexp(largest).exponent.to(torch.int64) - (HALF.bit_length() - 1)
        self._widen(torch.where(largest > 0, width, _FINEST))
        bins = torch.floor(scaled(x, self.exponent[:, None])).to(torch.int64) + HALF
        bins += torch.arange(len(x))[:, None] * 2 * HALF
        counts = torch.bincount(bins.flatten(), minlength=len(x) * 2 * HALF)
        self.counts = self.counts + counts.view(len(x), -1)

    def occupied(self) -> Bins:
        """Return the bins that hold something."""
        channel, index = self.counts.nonzero(as_tuple=True)
        return Bins(channel, self.middles[index], self.counts[channel, index])

    def _widen(self, exponent: Tensor) -> None:
        """Merge the bins of each channel until they are 2^exponent wide, if they are not yet."""
        octaves = (exponent - self.exponent).clamp(min=0)
        if bool(octaves.any()):
            places = (torch.arange(-HALF, HALF) >> octaves.clamp(max=62)[:, None]) + HALF
            merged = torch.zeros(places.shape, dtype=torch.int64)
            self.counts = merged.scatter_add_(1, places, self.counts.expand(places.shape))
        self.exponent = self.exponent + octaves
