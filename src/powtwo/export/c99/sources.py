"""C99 of an integer network: `network.h`, `network.c`, and `main.c` to try them at a desk.

The C is in the files of these names beside this one: the functions are the same for every network,
and here the tables that they read are filled in. Codes live in one arena, in the places of `arena`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.core import graph
from powtwo.core.windows import four, pair
from powtwo.export.c99 import arena
from powtwo.export.c99.arena import Block
from powtwo.export.c99.names import prefix_for
from powtwo.export.packing import (
    WORD_BITS,
    Packing,
    packing,
    packings,
    words,
)
from powtwo.export.steps import Step, ends_in_int32
from powtwo.export.templates import render
from powtwo.integer.geometry import Shape
from powtwo.integer.network import IntegerNetwork

INT16_BITS = 16
COLUMNS = 100  # of a line of numbers, at most


def sources(
    network: IntegerNetwork, steps: list[Step], prefix: str | None = None, packed: bool = False
) -> dict[str, bytes]:
    """Return the content of each file by its name.

    Args:
        network: the network.
        steps: what `steps_of` gave of it.
        prefix: what the names begin with that a program sees; the scheme by default.
        packed: whether weights of 4 bits and fewer are packed, as `packing` has them.

    Raises:
        ValueError: where the prefix is no C identifier.
    """
    moving, table = _moving(steps), network.input.table()
    memory = sizes(network, steps, packed)
    layouts = packings(moving) if packed else {}
    widths = {layout.code_bits for layout in layouts.values()}  # a constant makes faster code
    name = prefix_for(network.scheme, prefix)
    offsets = _offsets(network, moving)
    values: dict[str, Any] = {
        "prefix": name,
        "PREFIX": name.upper(),
        "scheme": re.sub(r"[^\w.-]", "_", network.scheme, flags=re.ASCII),
        "rounding": network.rounding,
        "shape": "x".join(map(str, network.input.shape)),
        "pixels": prod(network.input.shape),
        "logits": prod(steps[-1].output_shape if steps else network.input.shape),
        "ends_in_codes": not ends_in_int32(steps),
        "class_names": [_quoted(name) for name in network.classes],
        "folded": any(step.is_folded for step in moving),
        "packings": layouts,
        "narrow": _narrow(moving),
        "tile_type": _tile_type(moving),
        "code_bits": widths.pop() if len(widths) == 1 else "l->code_bits",
        "values_of": _values_of,
        "table": table,
        "arrays": list(_arrays(moving, packed)),
        "layers": moving,
        "offsets": offsets,
        "kinds": {step.layer.kind for step in moving},
        "place": lambda index: -1 if index == graph.IMAGE else offsets[index],
        "raw": offsets[graph.IMAGE],
        "pair": pair,
        "four": four,
        "numbers": _numbers,
        "chw": _chw,
    }
    names = ("network.h", "network.c", "main.c")
    return {name: render(f"c99/{name}", **values, **memory).encode() for name in names}


def sizes(network: IntegerNetwork, steps: list[Step], packed: bool = False) -> dict[str, int]:
    """Return the bytes that `network.c` needs: `arena` and `patch` to write, `constants` to read.

    The caller's image and logits are not counted.
    """
    moving, table = _moving(steps), network.input.table()
    inputs = [step.weight[0].size for step in moving if step.layer.has_weights]
    if packed:  # the codes that fill a row meet an input too
        inputs += [p.row_words * WORD_BITS // p.code_bits for p in packings(moving).values()]
    tables = sum(values.nbytes for _, _, values in _arrays(moving, packed))
    return {
        "arena": arena.plan(_blocks(network, moving)).size or 1,
        "patch": 2 * max(inputs, default=1),
        "constants": tables + (0 if table is None else table.size),
    }


def _moving(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.layer.kind != "flatten"]


def _blocks(network: IntegerNetwork, moving: list[Step]) -> list[Block]:
    """Return the codes of the image, which a table makes, and of each layer."""
    positions = {step.index: position for position, step in enumerate(moving)}
    last = {graph.IMAGE: 0, **positions}
    for position, step in enumerate(moving):
        last |= dict.fromkeys(step.sources, position)
    raw = network.input.table() is None  # then layers read the caller's pixels
    image = Block(0 if raw else prod(network.input.shape), -1, last[graph.IMAGE])
    return [
        image,
        *(
            Block(0 if step.gives_int32 else prod(step.output_shape), position, last[step.index])
            for position, step in enumerate(moving)
        ),
    ]


def _offsets(network: IntegerNetwork, moving: list[Step]) -> dict[int, int]:
    """Return where in the arena the codes of the image and of each layer lie, by its index."""
    offsets = arena.plan(_blocks(network, moving)).offsets
    return dict(zip([graph.IMAGE, *(step.index for step in moving)], offsets, strict=True))


def _arrays(moving: list[Step], packed: bool) -> Iterable[tuple[str, str, npt.NDArray[np.generic]]]:
    """Yield the type, the name and the values of each layer's constants."""
    for layout in {_values_of(p): p for p in packings(moving).values() if packed}.values():
        yield "int8_t", _values_of(layout), layout.values
    for step in moving:
        if step.layer.has_weights:
            type_name, values = _weights(step, packed)
            yield type_name, f"weight_{step.index}", values
        if step.layer.accumulates:
            yield "int32_t", f"bias_{step.index}", step.bias
        if step.shifts:
            yield "uint8_t", f"shift_{step.index}", np.array(step.shifts, np.uint8)
    tile_type = _tile_type(moving)
    for index, ends in _narrow(moving).items():
        if ends is not None:
            yield tile_type, f"tile_ends_{index}", ends.astype(tile_type.removesuffix("_t"))


def _narrow(moving: list[Step]) -> dict[int, npt.NDArray[np.generic] | None]:
    """Return the tiles (O, T) of each layer that C adds up in int16, or None, by its index."""
    return {step.index: step.tile_ends for step in moving if step.accumulator_bits <= INT16_BITS}


def _tile_type(moving: list[Step]) -> str:
    """Return the type that holds every tap's number."""
    tables = [ends for ends in _narrow(moving).values() if ends is not None]
    longest = max((int(ends[0, -1]) for ends in tables), default=0)
    return "uint16_t" if longest < 2**16 else "uint32_t"


def _values_of(layout: Packing) -> str:
    """Return the name of the table of a packing's codes."""
    return f"{layout.code}_{layout.code_bits}"


def _weights(step: Step, packed: bool) -> tuple[str, npt.NDArray[np.generic]]:
    """Return the type and the values of the weights as the C has them."""
    layout = packing(step) if packed else None
    if layout is not None:
        return "uint32_t", words(step, layout)
    return "int8_t", step.weight


def _numbers(values: npt.NDArray[np.generic], indent: int) -> str:
    """Return lines of numbers, as many on each as the widest of them allows."""
    form = "#010x" if values.dtype == np.uint32 else "d"
    numbers = [format(value, form) for value in values.reshape(-1).tolist()]
    count = (COLUMNS - indent) // (max(map(len, numbers)) + 2)
    lines = (", ".join(numbers[i : i + count]) for i in range(0, len(numbers), count))
    return "\n".join(f"{' ' * indent}{line}," for line in lines)


def _chw(shape: Shape) -> Shape:
    """Return (channels, height, width): features are the channels of one pixel."""
    return (*shape, 1, 1)[:3]


def _quoted(text: str) -> str:
    """Return a C string: bytes that are not plain ASCII, and ? of a trigraph, in octal."""
    plain = {byte for byte in range(32, 127) if chr(byte) not in '"\\?'}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
