"""C99 of an integer network: `network.h`, `network.c`, and `main.c` to try them at a desk.

The functions are the same for every network (`c99_templates`); here its tables are written. Codes
live in one arena, each layer reading at one end of it and writing at the other, so that it is no
larger than the largest input and output of one layer together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.export.c99 import templates
from powtwo.export.steps import Step, array, folded_bias, input_table, is_folded, of_network, shifts
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork

FORMAT = "C99"
COLUMNS = 100  # of a line of numbers, at most


def sources(network: IntegerNetwork) -> dict[str, str]:
    """Return the text of each file by its name.

    Raises:
        UnsupportedError: where a layer is of an unknown kind, or takes int32 accumulators.
    """
    steps = of_network(network, FORMAT)
    moving = [step for step in steps if step.layer.kind != "flatten"]
    memory = sizes(network)
    return {
        "network.h": _header(network, steps, memory),
        "network.c": _source(network, moving, memory),
        "main.c": templates.MAIN,
    }


def sizes(network: IntegerNetwork) -> dict[str, int]:
    """Return the bytes that `network.c` needs: `arena` and `patch` to write, `constants` to read.

    The caller's image and logits are not counted.
    """
    moving = [s for s in of_network(network, FORMAT) if s.layer.kind != "flatten"]
    computing = [step.layer for step in moving if step.layer.has_weights]
    constants = sum(
        array(layer.weight).size + 4 * len(array(layer.bias)) + len(shifts(layer))
        for layer in computing
    )
    table = input_table(network.input)
    return {
        "arena": max((a + b for a, b in pairwise(_code_bytes(network, moving))), default=0) or 1,
        "patch": 2 * max((array(layer.weight)[0].size for layer in computing), default=1),
        "constants": constants + (0 if table is None else table.size),
    }


def _code_bytes(network: IntegerNetwork, moving: list[Step]) -> list[int]:
    """Return how much of the arena the input and each layer's output take."""
    raw = input_table(network.input) is None  # then the first layer reads the caller's pixels
    first = 0 if raw else prod(network.input.shape)
    return [first, *(0 if _gives_logits(step) else prod(step.output_shape) for step in moving)]


def _gives_logits(step: Step) -> bool:
    return step.layer.has_weights and step.layer.output is None


def _header(network: IntegerNetwork, steps: list[Step], memory: dict[str, int]) -> str:
    shape = network.input.shape
    codes = "are codes of 8 bits or fewer." if _last_codes(steps) else "are int32 accumulators."
    return templates.HEADER.substitute(
        memory,
        scheme=re.sub(r"[^\w.-]", "_", network.scheme, flags=re.ASCII),
        rounding=network.rounding,
        pixels=prod(shape),
        shape="x".join(map(str, shape)),
        logits=prod(steps[-1].output_shape if steps else shape),
        classes=len(network.classes),
        meaning=f"Its logits {codes}",
    )


def _last_codes(steps: list[Step]) -> bool:
    computing = [step.layer for step in steps if step.layer.has_weights]
    return not computing or computing[-1].output is not None


def _source(network: IntegerNetwork, moving: list[Step], memory: dict[str, int]) -> str:
    folded = any(is_folded(step.layer, network.rounding) for step in moving)
    table = input_table(network.input)
    encode = "" if table is None else templates.ENCODE
    return templates.SOURCE.substitute(
        bias="2^(shift-1) is in it already" if folded else "one for each output channel",
        declarations="" if table is None else templates.INPUT_TABLE.substitute(channels=len(table)),
        arrays="\n".join(_arrays(network, moving)),
        count=len(moving),
        layers="\n".join(_layers(network, moving, memory["arena"])),
        names="\n".join(f"    {_quoted(name)}," for name in network.classes),
        powers_field=templates.POWERS_FIELD if _has_powers(moving) else "",
        accumulate=templates.POWERS if _has_powers(moving) else templates.PRODUCTS,
        rounding_shift=templates.SHIFTS[network.rounding],
        encode=encode,
        begin="pixels" if table is None else "encode(pixels)",
        end=templates.WIDEN if _last_codes(moving) else "",
    )


def _arrays(network: IntegerNetwork, moving: list[Step]) -> Iterable[str]:
    table = input_table(network.input)
    if table is not None:
        rows = "".join(f"    {{\n{_numbers(row, 8)}    }},\n" for row in table)
        yield f"static const uint8_t input_table[INPUT_CHANNELS][256] = {{\n{rows}}};\n"
    for step in moving:
        layer, index = step.layer, step.index
        if layer.has_weights:
            yield _array("int8_t", f"weight_{index}", _weights(layer))
            yield _array("int32_t", f"bias_{index}", folded_bias(layer, network.rounding))
        if layer.has_weights and layer.output is not None:
            yield _array("uint8_t", f"shift_{index}", np.array(shifts(layer)))


def _has_powers(steps: list[Step]) -> bool:
    return any(_is_powers(step.layer) for step in steps if step.layer.has_weights)


def _is_powers(layer: Layer) -> bool:
    return layer.weight_format.kind == "power_of_two"


def _weights(layer: Layer) -> npt.NDArray[np.generic]:
    """Return the weights as the C has them: ±2^k as ±(k + 1) where all are powers of two."""
    weight = array(layer.weight)
    if not _is_powers(layer):
        return weight
    mantissa, exponent = np.frexp(weight.astype(np.float64))  # ±0.5 · 2^(k + 1)
    return (np.sign(mantissa) * exponent).astype(np.int8)


def _array(kind: str, name: str, values: npt.NDArray[np.generic]) -> str:
    return f"static const {kind} {name}[{values.size}] = {{\n{_numbers(values, 4)}}};\n"


def _numbers(values: npt.NDArray[np.generic], indent: int) -> str:
    """Return lines of numbers, as many on each as the widest of them allows."""
    words = [str(value) for value in values.reshape(-1).tolist()]
    width = max(map(len, words)) + 2
    count = (COLUMNS - indent) // width
    lines = (", ".join(words[i : i + count]) for i in range(0, len(words), count))
    return "".join(f"{' ' * indent}{line},\n" for line in lines)


def _layers(network: IntegerNetwork, moving: list[Step], arena: int) -> Iterable[str]:
    taken = _code_bytes(network, moving)[1:]
    for position, (step, size) in enumerate(zip(moving, taken, strict=True)):
        # The input stands at the low end, where it stands in the arena at all.
        yield _layer(step, offset=arena - size if position % 2 == 0 else 0)


def _layer(step: Step, offset: int) -> str:
    layer = step.layer
    (channels, height, width), (out_channels, out_height, out_width) = (
        (*shape, 1, 1)[:3] for shape in (step.input_shape, step.output_shape)
    )
    return templates.LAYER.substitute(
        index=step.index, kind=layer.kind.upper(),
        channels=channels, height=height, width=width,
        out_channels=out_channels, out_height=out_height, out_width=out_width,
        kernel=layer.kernel or 1, stride=layer.stride, padding=layer.padding,
        computing=_computing(step) if layer.has_weights else "", offset=offset,
    )  # fmt: skip


def _computing(step: Step) -> str:
    layer, output = step.layer, step.layer.output
    assert layer.input is not None
    values: dict[str, Any] = {
        "index": step.index,
        "shift": "0" if output is None else f"shift_{step.index}",
        "shift_step": int(len(shifts(layer)) > 1),
        "input_zero_point": layer.input.zero_point,
        "output_zero_point": 0 if output is None else output.zero_point,
        "output_max": 0 if output is None else output.grid.quant_max,
        "relu": int(layer.relu),
        "powers": "        .powers = 1,\n" if _is_powers(layer) else "",
    }
    return templates.COMPUTING.substitute(values)


def _quoted(text: str) -> str:
    """Return a C string: bytes that are not plain ASCII, and ? of a trigraph, in octal."""
    plain = {byte for byte in range(32, 127) if chr(byte) not in '"\\?'}
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'
