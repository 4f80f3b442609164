"""What each layer reads, how a network runs, and what windows are."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from powtwo.core import graph, windows
from powtwo.core.windows import Sides


class Node(NamedTuple):
    """A layer, as far as a graph knows it."""

    kind: str
    inputs: tuple[int, ...] | None = None


DIAMOND = [
    Node("conv2d"), Node("conv2d"), Node("add", (0, 1)), Node("add", (2, -1)), Node("flatten"),
]  # fmt: skip


def test_what_a_layer_reads() -> None:
    reads = graph.sources(DIAMOND)
    assert reads == [(-1,), (0,), (0, 1), (2, -1), (3,)]
    assert graph.readers(reads) == {-1: [0, 3], 0: [1, 2], 1: [2], 2: [3], 3: [4], 4: []}
    assert graph.follow(reads, 4, lambda i: DIAMOND[i].kind == "flatten") == 3
    assert graph.follow(reads, 0, lambda _: True) == graph.IMAGE
    assert [graph.canonical(i, node.inputs) for i, node in enumerate(DIAMOND)] == [
        None, None, [0, 1], [2, -1], None,
    ]  # fmt: skip
    assert graph.canonical(3, (2,)) is None


def test_values_are_let_go_after_their_last_reader() -> None:
    reads, values = graph.sources(DIAMOND), {-1: "x"}
    held = []
    for output in graph.evaluate(reads, values, [lambda *x: f"({'+'.join(x)})"] * 5):
        held.append((output, sorted(values)))
    assert held == [
        ("(x)", [-1, 0]),
        ("((x))", [-1, 0, 1]),
        ("((x)+((x)))", [-1, 2]),
        ("(((x)+((x)))+x)", [3]),
        ("((((x)+((x)))+x))", [4]),
    ]
    values = {-1: "x", 2: "y"}  # begun in the middle
    assert list(graph.evaluate(reads, values, [lambda *x: "".join(x)] * 5)) == ["yx", "yx"]


def test_a_window_is_said_in_as_few_numbers_as_say_it() -> None:
    cases: list[tuple[Sides, object]] = [
        (3, 3), ((3, 3), 3), ([1, 2], [1, 2]), ((1, 1, 1, 1), 1), ((1, 2, 1, 2), [1, 2]),
        ((1, 2, 1, 1), [1, 2, 1, 1]),
    ]  # fmt: skip
    for sides, said in cases:
        assert windows.shortest(sides) == said
        assert windows.four(sides) == windows.four(said)  # type: ignore[arg-type]
    assert windows.symmetric((1, 2, 1, 2)) == (1, 2)
    assert windows.symmetric((1, 2, 1, 1)) is None
    assert windows.pad_argument((1, 2, 3, 4)) == [2, 4, 1, 3]
    assert [windows.average_bits(k) for k in (1, 2, 3, (1, 2), (7, 7), 8)] == [0, 2, 4, 1, 6, 6]


@pytest.mark.parametrize("seed", range(20))
def test_a_kernel_fits_as_often_as_it_can_be_placed(seed: int) -> None:
    rng = random.Random(seed)
    size, kernel, stride, before, after = (rng.randint(low, 6) for low in (1, 1, 1, 0, 0))
    places = range(-before, size + after - kernel + 1, stride)
    assert max(windows.fits(size, kernel, stride, before, after), 0) == len(places)
