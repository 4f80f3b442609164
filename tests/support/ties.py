"""Networks that end around every tie of a rounding shift."""

from __future__ import annotations

from dataclasses import replace

import torch
from networks import random_network

from powtwo.integer.layer import Layer, as_exponents
from powtwo.integer.network import IntegerNetwork


def tie_network(rounding: str, n: int, relu: bool, per_channel: bool) -> IntegerNetwork:
    """End in a linear layer that copies an input code, its biases sweeping across the ties."""
    network = random_network(0, rounding)
    codes = network.layers[5].input
    shifts = torch.arange(n - 6, n + 6).clamp(0, 31) if per_channel else torch.tensor(n)
    half = torch.where(shifts < 31, (1 << shifts) >> 1, 0)  # in 31 bits a tie would overflow
    signs = torch.tensor([1, -1] * 6)
    layer = Layer(
        "linear",
        weight=(torch.arange(12) == 0).expand(12, 12).to(torch.int8),
        bias=(signs * half + torch.arange(-6, 6)).to(torch.int32),
        weight_exponent=as_exponents((-shifts).tolist()),
        input=codes,
        output=codes,
        relu=relu,
    )
    return replace(network, classes=tuple("abcdefghijkl"), layers=(*network.layers[:5], layer))


def lopsided_network(rounding: str) -> IntegerNetwork:
    """End in sums that start below 2^24 and only fall: no input takes them there, signs apart."""
    network = random_network(0, rounding)
    last = network.layers[5]
    weight = torch.full_like(last.weight, -127)
    bias = torch.full_like(last.bias, 2**24 - 1)
    layer = replace(last, weight=weight, bias=bias, output=last.input, weight_exponent=0)
    return replace(network, layers=(*network.layers[:5], layer))
