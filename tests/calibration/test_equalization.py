"""Equalization: the same logits in every bit, and ranges that meet."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from powtwo.calibration import equalization
from powtwo.calibration.equalization import equalize
from powtwo.network.folded import FoldedLayer, logits, outputs


def network(seed: int, dead: bool = False) -> list[FoldedLayer]:
    """Make conv → pool → conv → flatten → linear → linear with channels of very unlike ranges."""
    generator = torch.Generator().manual_seed(seed)

    def layer(kind: str, *shape: int, relu: bool = True) -> FoldedLayer:
        spread = torch.randn(shape[0], generator=generator, dtype=torch.float64) * 3
        gains = spread.exp2().view(-1, *[1] * (len(shape) - 1))
        weight = torch.randn(shape, generator=generator, dtype=torch.float64) * gains
        bias = torch.randn(shape[0], generator=generator, dtype=torch.float64)
        if dead and relu:
            weight[0], weight[:, 1] = 0, 0
        conv = {"padding": 1, "kernel": 3} if kind == "conv2d" else {}
        return FoldedLayer(kind, weight, bias, relu=relu, **conv)

    return [
        layer("conv2d", 5, 3, 3, 3),
        FoldedLayer("maxpool2d", kernel=2, stride=2),
        layer("conv2d", 4, 5, 3, 3),
        FoldedLayer("flatten"),
        layer("linear", 7, 4 * 16),
        layer("linear", 3, 7, relu=False),
    ]


def images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_logits_are_the_same_in_every_bit(seed: int, dead: bool) -> None:
    layers, x = network(seed, dead), images(seed)
    equal = equalize(layers)
    assert not torch.equal(equal[0].weight, layers[0].weight)
    assert torch.equal(logits(equal, x), logits(layers, x))


def test_between_layers_a_channel_is_divided_by_a_power_of_two() -> None:
    layers, x = network(3), images(3)
    pairs = list(zip(outputs(layers, x), outputs(equalize(layers), x), strict=True))
    for before, after in pairs[:3]:  # (N, C, H, W)
        seen = before != 0
        assert torch.equal(seen, after != 0)
        for channel in range(before.shape[1]):
            ratio = (before / after)[:, channel][seen[:, channel]].unique()
            assert len(ratio) <= 1
            assert all(math.frexp(value)[0] == 0.5 for value in ratio.tolist())
    assert torch.equal(*pairs[-1])


def ranges(layers: list[FoldedLayer]) -> list[tuple[list[float], list[float]]]:
    """Return max |w| of each channel on both sides, for each pair of layers."""
    computing = [layer.weight for layer in layers if layer.weight is not None]
    found = []
    for first, second in pairwise(computing):
        rows = [row.abs().max().item() for row in first]
        share = second.shape[1] // len(rows)  # columns a channel feeds
        columns = second.split(share, dim=1)
        found.append((rows, [column.abs().max().item() for column in columns]))
    return found


@pytest.mark.parametrize("seed", range(10))
def test_afterwards_both_sides_are_within_a_factor_of_two(seed: int) -> None:
    worst = 1.0
    for out, into in ranges(network(seed)):
        worst = max(worst, *(max(a / b, b / a) for a, b in zip(out, into, strict=True)))
    assert worst > 2
    for out, into in ranges(equalize(network(seed))):
        assert all(0.5 <= a / b <= 2 for a, b in zip(out, into, strict=True))


def test_a_dead_channel_keeps_its_bias() -> None:
    layers = network(1, dead=True)
    equal = equalize(layers)
    for index in (0, 2, 4):
        assert equal[index].bias[:2][0] == layers[index].bias[0]  # row 0 is zero
    assert equal[2].bias.isfinite().all()


def test_done_twice_is_done_once() -> None:
    once = equalize(network(2))
    for first, again in zip(once, equalize(once), strict=True):
        assert first.weight is again.weight


def test_a_factor_shared_by_a_whole_layer_is_found() -> None:
    layers = network(4)
    scaled = list(layers)
    scaled[0] = replace(layers[0], weight=layers[0].weight * 2**20, bias=layers[0].bias * 2**20)
    scaled[2] = replace(layers[2], weight=layers[2].weight / 2**20)
    for one, other in zip(equalize(layers), equalize(scaled), strict=True):
        if one.weight is not None:
            assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize(
    ("octaves", "moved"),
    [(-4, -2), (-3, -1), (-2, -1), (-1, 0), (0, 0), (1, 0), (2, 1), (3, 1), (4, 2)],
)
def test_a_factor_between_two_powers_of_two_is_the_closer_to_1(
    octaves: int, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equalization, "ROUNDS", 1)  # a second one could take it back
    first, second = (
        FoldedLayer("linear", torch.full((1, 1), size, dtype=torch.float64), torch.zeros(1))
        for size in (2.0**octaves, 1.0)
    )
    assert equalize([first, second])[0].weight.item() == 2.0 ** (octaves - moved)
