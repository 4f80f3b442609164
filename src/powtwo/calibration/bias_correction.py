"""Bias correction: what quantization adds to a channel's mean is taken out of its bias.

    b' = b + E[W x] − E[W_q x_q]

The form with images (source 1, §4.2 and appendix D): x as the float network has it, x_q as the
integer network has it after all that was corrected before. E[W x] = W · E[x], so only the mean of
each input is needed. A layer's x_q holds what the shift before it dropped, half a unit on average
where it floors, so that loss is made good here; what the layer's own shift drops comes after its
bias, and is made good in the next. Rounding of `half_up` keeps it from arising.

The inputs are codes, or values of `fine_network`, so that their sums are exact; the sum over a
row of weights is `math.fsum`'s, correctly rounded in any order. The bytes are the same on every
machine, whatever the order or the batches of the images.

Source: Nagel et al. 2019, https://arxiv.org/abs/1906.04721
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.network.folded import FoldedLayer


def mean_inputs(layer: FoldedLayer, x: Tensor) -> Tensor:
    """Return the mean of what each weight of an output meets, over images and positions.

    Args:
        layer: a conv2d or linear layer.
        x: inputs (N, C, H, W) or (N, I), multiples of a power of two, so that sums are exact.

    Returns:
        float64 (K,), in the order of the weights of one output.
    """
    total = x.sum(0, dtype=torch.float64)
    if layer.kind == "linear":
        return total / len(x)
    patches = F.unfold(total[None], layer.kernel, padding=layer.padding, stride=layer.stride)[0]
    return patches.sum(1) / (len(x) * patches.shape[1])


def shift_of_means(exact: tuple[Tensor, Tensor], quantized: tuple[Tensor, Tensor]) -> Tensor:
    """Return E[W x] − E[W_q x_q] of each output.

    Args:
        exact: weights (O, …) and mean inputs (K,) of the float layer.
        quantized: the same of the quantized layer.

    Returns:
        float64 (O,), each the correctly rounded sum of its rounded products.
    """
    (weight, mean), (weight_q, mean_q) = exact, quantized
    terms = torch.cat([weight.flatten(1) * mean, -weight_q.flatten(1) * mean_q], dim=1)
    return torch.tensor([math.fsum(row) for row in terms.tolist()], dtype=torch.float64)
