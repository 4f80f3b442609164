"""C of networks that are no stacks, under sanitizers; where their codes lie, and how many bytes."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from export_cases import needs
from graphs import graphs, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from test_c99 import agrees, is_right, sources_of

from powtwo.dataset.normalization import Normalization
from powtwo.export.c99 import arena
from powtwo.export.c99.arena import Block
from powtwo.export.c99.sources import _blocks, _moving, sizes
from powtwo.export.steps import steps_of
from powtwo.integer.network import IntegerNetwork

pytestmark = pytest.mark.slow


@needs("gcc")
@settings(max_examples=20)
@given(network=graphs, packed=st.booleans(), table=st.booleans())
def test_every_code_is_the_references_and_nothing_is_undefined(
    network: IntegerNetwork, packed: bool, table: bool
) -> None:
    if table:
        standard = Normalization("standard", (0.5, 0.4, 0.3), (0.5, 0.4, 0.6))
        network = replace(network, input=replace(network.input, normalization=standard))
    assert is_right(network, packed=packed)


DOWN, RIGHT = "* l->stride_down - l->top;", "p % l->out_width * l->stride_right"
ADDED, OTHER = "(x[i] - l->input_zero_point)", "(other[i] - l->other_zero_point)"
MUTATIONS = {
    "groups": ("gather(l, x, g * channels, channels, p)", "gather(l, x, 0, channels, p)"),
    "top": (f"{DOWN}\n    const int32_t left = p", "* l->stride_down;\n    const int32_t left = p"),
    "left": (f"{RIGHT} - l->left", f"{RIGHT} - l->top"),
    "strides": (RIGHT, "p % l->out_width * l->stride_down"),
    "gain": (f"{ADDED} * l->gain", ADDED),
    "other gain": (f"{OTHER} * l->other_gain", OTHER),
    "other zero point": (OTHER, "(other[i] - l->input_zero_point)"),
    "the half of a sum": ("* l->other_gain + l->bias[0]", "* l->other_gain"),
    "the half of an average": ("int32_t a = l->bias[0];", "int32_t a = 0;"),
    "a pooling's padding": ("row * l->stride_down - l->top + k", "row * l->stride_down + k"),
    "kernel": ("right - l->left + k % l->kernel_width", "right - l->left + k % l->kernel_height"),
}


@needs("gcc")
@pytest.mark.parametrize("name", MUTATIONS)
def test_the_comparison_sees_every_mutation(name: str) -> None:
    old, new = MUTATIONS[name]
    for seed in range(40):
        network = random_graph(seed, "half_up", zero_point=(None, 0)[seed % 2], layers=9)
        files = sources_of(network)
        pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 7, 7), np.uint8)
        text = files["network.c"].decode()
        if old in text and not agrees(
            files | {"network.c": text.replace(old, new).encode()}, network, pixels, ("-O1",)
        ):
            return
    raise AssertionError(f"{name}: no network tells it")


def test_no_two_codes_that_live_at_a_time_overlap() -> None:
    for seed in range(200):
        rng, blocks = random.Random(seed), []
        for first in range(rng.randint(1, 12)):
            blocks.append(Block(rng.choice([0, 1, 4, 10, 33]), first, first + rng.randint(0, 4)))
        plan = arena.plan(blocks)
        placed = list(zip(blocks, plan.offsets, strict=True))
        for index, (one, at) in enumerate(placed):
            assert 0 <= at <= at + one.size <= plan.size
            for other, there in placed[:index]:
                alive = one.first <= other.last and other.first <= one.last
                assert not alive or at + one.size <= there or there + other.size <= at
        least = arena.most_alive(blocks)
        assert least <= plan.size <= 1.5 * least


@pytest.mark.parametrize("seed", range(30))
def test_a_graph_needs_little_more_than_what_lives(seed: int) -> None:
    network = random_graph(seed, layers=9)
    steps = steps_of(network)
    blocks = _blocks(network, _moving(steps))
    assert sizes(network, steps)["arena"] <= 1.2 * max(arena.most_alive(blocks), 1)
