"""Restriction of a scale to a power of two: the floor, ceiling or nearest integer of its log2.

log2 of a float may be rounded across an integer or a half. The mantissa tells exactly, and makes
doubling a tensor raise its exponent by one, always.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def floor_exponent(scale: Tensor) -> Tensor:
    """Return floor(log2 scale), int64, of float64 scales above 0."""
    return torch.frexp(scale).exponent.to(torch.int64) - 1


def ceil_exponent(scale: Tensor) -> Tensor:
    """Return ceil(log2 scale), int64, of float64 scales above 0."""
    mantissa, exponent = torch.frexp(scale)  # mantissa in [0.5, 1)
    return exponent.to(torch.int64) - (mantissa == 0.5).to(torch.int64)


def nearest_exponent(scale: Tensor) -> Tensor:
    """Return round(log2 scale), int64, of scales above 0; √2 is irrational: there are no ties."""
    mantissa, exponent = torch.frexp(scale)
    return exponent.to(torch.int64) - (2 * mantissa < math.sqrt(2)).to(torch.int64)
