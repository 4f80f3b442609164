"""Cross-layer equalization: ranges of channels moved from one layer to the next, by powers of two.

ReLU, pooling and flattening let a factor s > 0 of a channel pass: what leaves layer 1 divided
by s_i may meet the weights of layer 2 multiplied by s_i. Source 1 (eq. 11) makes the precision of
both sides of a channel most with s_i = sqrt(r1_i · r2_i) / r2_i, where r is the largest |w| of the
channel's weights: afterwards r1_i = r2_i. Here log2 s_i is that one rounded to an integer, so that
every division is exact: in float64 the network gives the very same logits, unless a value leaves
the range of its exponents.

Only what a single layer reads is divided. Across additions and where several layers read one,
nothing is equalized, nor after a ReLU6, which cuts at 6 whatever the factor; `left_out` says where.

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

import torch
from torch import Tensor

from powtwo.core import graph
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
    pairs = _pairs(equal)
    for _ in range(ROUNDS):
        settled = True
        for first, second in pairs:
            exponents = _exponents(equal[first], equal[second])
            if bool(exponents.any()):
                settled = False
                factors = power_of_two(exponents)
                equal[first] = _divided(equal[first], factors)
                equal[second] = _multiplied(equal[second], factors)
        if settled:
            break
    return equal


def left_out(layers: Sequence[FoldedLayer]) -> list[int]:
    """Return the weighted layers whose outputs are not equalized, the last aside.

    An addition has one scale for each channel of both its inputs, and so has a layer that several
    read; a ReLU6 cuts at 6 whatever the channel.
    """
    first = {index for index, _ in _pairs(layers)}
    weighted = [index for index, layer in enumerate(layers) if layer.weight is not None]
    return [index for index in weighted[:-1] if index not in first]


def _pairs(layers: Sequence[FoldedLayer]) -> list[tuple[int, int]]:
    """List each two weighted layers of which the second alone reads the first, and linearly."""
    reads = graph.sources(layers)
    readers = graph.readers(reads)
    found = []
    for second, layer in enumerate(layers):
        if layer.weight is None:
            continue
        (first,) = reads[second]
        alone = len(readers[first]) == 1
        while alone and first != graph.IMAGE and layers[first].weight is None:
            if layers[first].kind == "add" or layers[first].maximum is not None:
                break
            (first,) = reads[first]
            alone = len(readers[first]) == 1
        if first == graph.IMAGE or not alone:
            continue
        if layers[first].weight is not None and layers[first].maximum is None:
            found.append((first, second))
    return found


def _exponents(first: FoldedLayer, second: FoldedLayer) -> Tensor:
    """Return log2 s of each channel between two layers, int64 (C,).

    log2 sqrt(a / b) is rounded to the nearest integer, the one closer to 0 of two: mantissas tell
    exactly where a > 2^(2k − 1) · b.
    """
    assert first.weight is not None
    out = first.weight.abs().flatten(1).amax(1)
    into = _by_channel(second, len(out)).abs().amax((1, 3)).flatten()
    large, small = torch.frexp(torch.maximum(out, into)), torch.frexp(torch.minimum(out, into))
    octaves = large.exponent - small.exponent - (large.mantissa <= small.mantissa).int()
    half = (octaves + 1) // 2  # 2^octaves < large / small ≤ 2^(octaves + 1)
    return torch.where((out > 0) & (into > 0), torch.where(out > into, half, -half), 0).long()


def _by_channel(layer: FoldedLayer, channels: int) -> Tensor:
    """View the weights (O, I / g, …) as (g, O / g, channels / g, what one channel feeds).

    After flattening a channel feeds as many neighboring columns as it has positions.
    """
    assert layer.weight is not None
    groups = layer.groups
    return layer.weight.reshape(groups, len(layer.weight) // groups, channels // groups, -1)


def _divided(layer: FoldedLayer, factors: Tensor) -> FoldedLayer:
    """Divide the outputs of each channel (O,); powers of two divide exactly."""
    assert layer.weight is not None
    assert layer.bias is not None
    weight = layer.weight / factors.view(-1, *[1] * (layer.weight.dim() - 1))
    return replace(layer, weight=weight, bias=layer.bias / factors)


def _multiplied(layer: FoldedLayer, factors: Tensor) -> FoldedLayer:
    """Multiply what each channel feeds."""
    assert layer.weight is not None
    scaled = _by_channel(layer, len(factors)) * factors.view(layer.groups, 1, -1, 1)
    return replace(layer, weight=scaled.view_as(layer.weight))
