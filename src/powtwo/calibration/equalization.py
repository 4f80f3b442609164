"""Cross-layer equalization: ranges of channels moved from one layer to the next, by powers of two.

ReLU, max pooling and flattening let a factor s > 0 of a channel pass: what leaves layer 1 divided
by s_i may meet the weights of layer 2 multiplied by s_i. Source 1 (eq. 11) makes the precision of
both sides of a channel most with s_i = sqrt(r1_i · r2_i) / r2_i, where r is the largest |w| of the
channel's weights: afterwards r1_i = r2_i. Here log2 s_i is that one rounded to an integer, so that
every division is exact: in float64 the network gives the very same logits, unless a value leaves
the range of its exponents.

Which range to equalize: the weights' alone, as in the source. The outputs of a channel are divided
by the same s_i, and their range is not looked at: an activation that grows is seen by the
observers, which calibrate after this. The bias is divided too; source 1's absorption of high
biases (§4.1.3) is left out, for it is not exact.

Sources:
1. Nagel et al. 2019, https://arxiv.org/abs/1906.04721, §4.1 and appendix A
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from powtwo.integer.fixedpoint import power_of_two
from powtwo.network.folded import FoldedLayer

ROUNDS = 50  # over all pairs, at most: rounded factors settle in a few


def equalize(layers: Sequence[FoldedLayer]) -> list[FoldedLayer]:
    """Equalize each two weighted layers with a ReLU, or nothing, between them.

    Pairs are taken in order, again and again, until no factor differs from 1. A channel whose
    weights are zero on either side keeps its factor of 1.

    Returns:
        The layers, with other weights and biases and the same outputs of the last.
    """
    equal = list(layers)
    weighted = [index for index, layer in enumerate(equal) if layer.weight is not None]
    for _ in range(ROUNDS):
        settled = True
        for first, second in pairwise(weighted):
            exponents = _exponents(equal[first], equal[second])
            if bool(exponents.any()):
                settled = False
                factors = power_of_two(exponents)
                equal[first] = _divided(equal[first], factors)
                equal[second] = _multiplied(equal[second], factors)
        if settled:
            break
    return equal


def _exponents(first: FoldedLayer, second: FoldedLayer) -> Tensor:
    """Return log2 s of each channel between two layers, int64 (C,).

    log2 sqrt(a / b) is rounded to the nearest integer, the one closer to 0 of two: mantissas tell
    exactly where a > 2^(2k − 1) · b.
    """
    assert first.weight is not None
    out = first.weight.abs().flatten(1).amax(1)
    into = _by_channel(second, len(out)).abs().amax((0, 2))
    large, small = torch.frexp(torch.maximum(out, into)), torch.frexp(torch.minimum(out, into))
    octaves = large.exponent - small.exponent - (large.mantissa <= small.mantissa).int()
    half = (octaves + 1) // 2  # 2^octaves < large / small ≤ 2^(octaves + 1)
    return torch.where((out > 0) & (into > 0), torch.where(out > into, half, -half), 0).long()


def _by_channel(layer: FoldedLayer, channels: int) -> Tensor:
    """View the weights (O, I, …) as (O, channels, what one channel feeds).

    After flattening a channel feeds as many neighboring columns as it has positions.
    """
    assert layer.weight is not None
    return layer.weight.reshape(len(layer.weight), channels, -1)


def _divided(layer: FoldedLayer, factors: Tensor) -> FoldedLayer:
    """Divide the outputs of each channel (O,); powers of two divide exactly."""
    assert layer.weight is not None
    assert layer.bias is not None
    weight = layer.weight / factors.view(-1, *[1] * (layer.weight.dim() - 1))
    return replace(layer, weight=weight, bias=layer.bias / factors)


def _multiplied(layer: FoldedLayer, factors: Tensor) -> FoldedLayer:
    """Multiply what each channel feeds."""
    assert layer.weight is not None
    scaled = _by_channel(layer, len(factors)) * factors.view(1, -1, 1)
    return replace(layer, weight=scaled.view_as(layer.weight))
