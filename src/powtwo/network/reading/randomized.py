"""Networks with random weights, for a while: what was misread shows, whatever the weights are.

A last layer of zeros, or branches that begin as zeros, hide everything before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod, sqrt

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn


@contextmanager
def module(network: nn.Module) -> Iterator[None]:
    """Give a module random weights and statistics in the block, and its own ones after it."""
    tensors = [each.detach() for each in (*network.parameters(), *network.buffers())]
    kept = [each.clone() for each in tensors]
    draws = torch.Generator().manual_seed(0)
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() > 1:  # others may be limits of a clamp
            with suppress(RuntimeError):  # one number that is seen as several
                tensor.copy_(_drawn(tensor, draws))
    try:
        yield
    finally:
        for tensor, old in zip(tensors, kept, strict=True):
            with suppress(RuntimeError):
                tensor.copy_(old)


@contextmanager
def file(model: onnx.ModelProto) -> Iterator[None]:
    """Give an ONNX file random weights and statistics in the block, and its own ones after it."""
    weights = [each for each in model.graph.initializer if each.data_type == each.FLOAT]
    kept = [each.SerializeToString() for each in weights]
    draws = torch.Generator().manual_seed(0)
    for weight in weights:
        if prod(weight.dims) > 1:  # others may be the limits of a Clip
            old = torch.from_numpy(numpy_helper.to_array(weight).copy())
            weight.CopyFrom(numpy_helper.from_array(_drawn(old, draws).numpy(), weight.name))
    try:
        yield
    finally:
        for weight, old in zip(weights, kept, strict=True):
            weight.ParseFromString(old)


def _drawn(old: Tensor, draws: torch.Generator) -> Tensor:
    """Draw weights that keep the size of what they weigh, and below 0 only where old ones are."""
    if old.dim() < 2:
        return torch.rand(old.shape, generator=draws) + 0.5
    drawn = torch.randn(old.shape, generator=draws) / sqrt(max(1, old[0].numel()))
    return drawn if (old < 0).any() else drawn.abs()
