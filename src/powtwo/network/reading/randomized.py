"""Networks with random weights, for a while: what was misread shows, whatever the weights are.

A last layer of zeros, or branches that begin as zeros, hide everything before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod, sqrt

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn


@contextmanager
def module(network: nn.Module) -> Iterator[None]:
    """Give a module random weights and statistics in the block, and its own ones after it."""
    tensors = [each.detach() for each in network.state_dict().values()]
    kept = [each.clone() for each in tensors]
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in tensors:
            if tensor.is_floating_point() and tensor.dim():
                tensor.copy_(_drawn(tuple(tensor.shape), draws))
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, old in zip(tensors, kept, strict=True):
                tensor.copy_(old)


@contextmanager
def file(model: onnx.ModelProto) -> Iterator[None]:
    """Give an ONNX file random weights and statistics in the block, and its own ones after it."""
    weights = [each for each in model.graph.initializer if each.data_type == each.FLOAT]
    kept = [each.SerializeToString() for each in weights]
    draws = torch.Generator().manual_seed(0)
    for weight in weights:
        if prod(weight.dims) > 1:  # others may be the limits of a Clip
            values = _drawn(tuple(weight.dims), draws).numpy().astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    try:
        yield
    finally:
        for weight, old in zip(weights, kept, strict=True):
            weight.ParseFromString(old)


def _drawn(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    """Draw weights that keep the size of what they weigh; of one dimension, all are near 1."""
    if len(shape) == 1:  # a variance must be above 0
        return torch.rand(shape, generator=draws) + 0.5
    return torch.randn(shape, generator=draws) / sqrt(max(1, prod(shape[1:])))
