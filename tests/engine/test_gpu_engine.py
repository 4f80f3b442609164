"""The engine of a GPU on a GPU. `benchmarks/gpu.sh` runs it; elsewhere it is skipped."""

from __future__ import annotations

from itertools import product

import pytest
import torch

pytest.importorskip("hypothesis")  # which `networks` wants
from graphs import random_graph
from networks import ROUNDINGS, random_network, random_pixels

from powtwo.core.stages import repeatable
from powtwo.engine.choose import make
from powtwo.engine.gpu import Gpu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_code_equals_the_reference_s(rounding: str, bits: int) -> None:
    for weight_bits, zero_point, per_channel in product((2, 4, 8), (None, 0), (False, True)):
        network = random_network(
            bits, rounding, bits, weight_bits, zero_point, per_channel, relu=bits % 2 == 0,
            kind="power_of_two" if weight_bits == 4 else "uniform",
        )  # fmt: skip
        pixels = random_pixels(bits, 300)
        ours = Gpu(network, "cuda").outputs(pixels)
        for index, (_, expected) in enumerate(network.outputs(pixels)):
            assert torch.equal(next(ours), expected), index


@pytest.mark.parametrize("seed", range(40))
def test_every_code_of_a_graph_equals_the_reference_s(seed: int) -> None:
    network = random_graph(seed, ROUNDINGS[seed % 3], 2 + seed % 7, (None, 0)[seed % 2])
    pixels = random_pixels(seed, 50, size=7)
    ours = Gpu(network, "cuda").outputs(pixels)
    for index, (_, expected) in enumerate(network.outputs(pixels)):
        assert torch.equal(next(ours), expected), index


def test_auto_takes_it_in_the_mode_of_a_stage() -> None:
    mode = torch.get_deterministic_debug_mode()
    try:
        repeatable(0)
        assert isinstance(make(random_network(0)), Gpu)
    finally:
        torch.set_deterministic_debug_mode(mode)
