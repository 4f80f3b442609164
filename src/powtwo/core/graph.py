"""A network whose layers read earlier ones: what each reads, and how it runs.

A layer has an index, in an order in which each comes after all that it reads. The image is -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from powtwo.core.strict import require

IMAGE = -1  # the index of what the first layer reads
T = TypeVar("T")
Sources = tuple[int, ...]


class Reader(Protocol):
    """A layer as far as it is known here."""

    @property
    def kind(self) -> str:
        """What it does; `add` reads two, any other kind one."""

    @property
    def inputs(self) -> Sequence[int] | None:
        """What it reads; None: the layer before."""


def sources(layers: Sequence[Reader]) -> list[Sources]:
    """Return the indices of what each layer reads.

    Raises:
        ValueError: where one is no earlier layer, their number is wrong, or a layer other than the
            last is read by none.
    """
    reads = [_sources(index, layer) for index, layer in enumerate(layers)]
    unread = set(range(len(layers) - 1)) - {source for each in reads for source in each}
    if unread:
        raise ValueError(f"layer {min(unread)}: output: read by no layer; leave the layer out")
    return reads


def _sources(index: int, layer: Reader) -> Sources:
    count = 2 if layer.kind == "add" else 1
    if layer.inputs is None:
        require(count == 1, f"layer {index}: inputs", None, f"must be {count}, as kind is add")
        return (index - 1,)
    inputs, key = tuple(layer.inputs), f"layer {index}: inputs"
    require(len(inputs) == count, key, list(inputs), f"must be {count}, as kind is {layer.kind}")
    earlier = all(IMAGE <= source < index for source in inputs)
    require(earlier, key, list(inputs), f"must be earlier layers, -1 (the image) to {index - 1}")
    return inputs


def readers(reads: Sequence[Sources]) -> dict[int, list[int]]:
    """Return which layers read the image and each layer, one that reads it twice named twice."""
    result: dict[int, list[int]] = {index: [] for index in range(IMAGE, len(reads))}
    for index, each in enumerate(reads):
        for source in each:
            result[source].append(index)
    return result


def evaluate(
    reads: Sequence[Sources], values: dict[int, T], steps: Sequence[Callable[..., T]]
) -> Iterator[T]:
    """Yield each layer's output, in order, beginning after the highest index of `values`.

    Args:
        reads: `sources`.
        values: what is there already, by its index: the image, and maybe outputs. Each value is
            taken out after its last reader.
        steps: what each layer makes of what it reads, in the order of its sources.
    """
    last = {source: index for index, each in enumerate(reads) for source in each}
    for index in range(max(values) + 1, len(reads)):
        output = steps[index](*[values[source] for source in reads[index]])
        values[index] = output
        for source in set(reads[index]):
            if last[source] == index:
                del values[source]
        yield output


def follow(reads: Sequence[Sources], index: int, passes: Callable[[int], bool]) -> int:
    """Return the layer whose output reaches the output of `index` through layers that pass it on.

    IMAGE where it is the image. `passes` tells whether a layer passes on the values that it reads.
    """
    while index != IMAGE and passes(index):
        (index,) = reads[index]
    return index


def canonical(index: int, inputs: Sequence[int] | None) -> Any:
    """Return inputs as files have them: None where they are the layer before."""
    return None if inputs is None or tuple(inputs) == (index - 1,) else list(inputs)
