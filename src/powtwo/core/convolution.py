"""A convolution with any window, in whatever type its tensors have."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from powtwo.core.windows import Sides, pad_argument, pair, symmetric


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Sides, padding: Sides, groups: int
) -> Tensor:
    """Convolve (N, C, H, W), of which a padded position is 0; the padding may differ by side."""
    sides = symmetric(padding)
    if sides is None:  # PyTorch's own padding is the same on opposite sides
        x, sides = F.pad(x, pad_argument(padding)), (0, 0)
    return F.conv2d(x, weight, bias, stride=pair(stride), padding=sides, groups=groups)
