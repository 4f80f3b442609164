"""Observers: from the statistics of a tensor to the exponent of its power-of-two scale.

An observer sees a tensor piece by piece and ends with an exponent. The order and the size of the
pieces do not matter. A new observer is a subclass with a `name`, which `params.yaml` then knows.

Sources:
1. The course's `PowerOfTwoObserver`: s₀ = 2·max|x| / (q_max − q_min), e = round(log2 s₀)
2. Range observers: Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, §3
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from powtwo.fixedpoint import Grid


class Observer:
    """The common ground: pieces of one tensor in, an exponent out."""

    name: ClassVar[str]
    known: ClassVar[dict[str, type[Observer]]] = {}

    def __init__(self, grid: Grid, tensor: str = "tensor") -> None:
        self.grid = grid
        self.tensor = tensor  # what an error calls it

    def __init_subclass__(cls) -> None:
        Observer.known[cls.name] = cls

    def observe(self, x: Tensor) -> None:
        """Take a piece of the tensor into account.

        Raises:
            ValueError: where it holds an infinity or a NaN, naming the tensor.
        """
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{self.tensor} holds an infinity or a NaN; nothing is quantized")
        if x.numel():
            self._take(x.detach().double())

    def exponent(self) -> int:
        """Return the exponent e of the scale 2^e; 0 for a tensor that is zero throughout."""
        raise NotImplementedError

    def _take(self, x: Tensor) -> None:
        raise NotImplementedError


class MinMaxRound(Observer):
    """The power of two nearest, in octaves, to the scale that just holds the largest magnitude."""

    name = "minmax-round"

    def __init__(self, grid: Grid, tensor: str = "tensor") -> None:
        super().__init__(grid, tensor)
        self.largest = 0.0  # max |x| so far

    def _take(self, x: Tensor) -> None:
        self.largest = max(self.largest, x.abs().max().item())

    def exponent(self) -> int:
        """Return the exponent for s₀ = max|x| / reach, by this observer's policy."""
        if self.largest == 0:
            return 0
        return self._of_scale(self.largest / self.grid.reach)

    def _of_scale(self, scale: float) -> int:
        return nearest_exponent(scale)


class MinMaxCeil(MinMaxRound):
    """The smallest power of two that overflows for no value seen."""

    name = "minmax-ceil"

    def _of_scale(self, scale: float) -> int:
        return ceil_exponent(scale)


class MinMaxFloor(MinMaxRound):
    """The largest power of two that leaves no code unused; clips by up to one octave."""

    name = "minmax-floor"

    def _of_scale(self, scale: float) -> int:
        return floor_exponent(scale)


class Lab(MinMaxRound):
    """The course's `PowerOfTwoObserver` (source 1); the scheme gives its clamp, [−8, 0]."""

    name = "lab"


def make(name: str, grid: Grid, tensor: str = "tensor") -> Observer:
    """Return a fresh observer.

    Raises:
        ValueError: where no observer has this name.
    """
    if name not in Observer.known:
        raise ValueError(f"observer = {name!r}: must be one of {', '.join(sorted(Observer.known))}")
    return Observer.known[name](grid, tensor)


# log2 of a float may be rounded across an integer or a half. The mantissa tells exactly, and makes
# doubling a tensor raise its exponent by one, always.


def floor_exponent(scale: float) -> int:
    """Return floor(log2 scale) for a scale above 0."""
    return math.frexp(scale)[1] - 1


def ceil_exponent(scale: float) -> int:
    """Return ceil(log2 scale) for a scale above 0."""
    mantissa, exponent = math.frexp(scale)  # mantissa in [0.5, 1)
    return exponent - 1 if mantissa == 0.5 else exponent


def nearest_exponent(scale: float) -> int:
    """Return round(log2 scale) for a scale above 0; √2 is irrational, so there are no ties."""
    mantissa, exponent = math.frexp(scale)
    return exponent if 2 * mantissa >= math.sqrt(2) else exponent - 1
