"""Memory images for Verilog's `$readmemh`: one two's-complement word a line, nothing else.

Words of int8 and uint8 have two hexadecimal digits, words of 32 bits eight. Every tensor lies in
C order: the last index runs fastest. Golden images follow each other, image by image. Packed
weights are those of `packing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.export.packing import packing, words
from powtwo.export.steps import FOLDED, Step
from powtwo.integer.network import IntegerNetwork

FOLDER = "memory"
GOLDEN = f"{FOLDER}/golden"
TILES = "the first tap after each tile; the fan-in ends a row, and fills it up"
Vectors = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Image:
    """A tensor as a memory: words of 8 or 32 bits, in C order."""

    file: str
    role: str  # weight, bias, shift, tile_ends, input, output, table, pixels
    layer: int | None  # index in the network; None: the network's input
    order: str  # what each index counts, the slowest first
    values: npt.NDArray[np.generic]
    note: str = ""

    @property
    def text(self) -> str:
        """Return the file: hexadecimal two's complement, a word a line."""
        big_endian = self.values.astype(self.values.dtype.newbyteorder(">"))
        return big_endian.tobytes().hex("\n", self.values.itemsize) + "\n"

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the file."""
        described = {
            "bits": 8 * self.values.itemsize,
            "file": self.file,
            "order": self.order,
            "shape": self.values.shape,
            "signed": self.values.dtype.kind == "i",
            "words": self.values.size,
        }
        return described | ({"note": self.note} if self.note else {})


def images(
    network: IntegerNetwork, steps: Sequence[Step], vectors: Vectors, packed: bool = False
) -> list[Image]:
    """List the images of a network, its `steps_of` and its `golden.vectors`."""
    listed = list(_input(network, vectors))
    for step in steps:
        if step.layer.has_weights:
            listed += _constants(step, packed)
        elif step.layer.accumulates and step.is_folded:  # what rounding adds, in one word
            listed.append(_bias(step))
        if step.layer.kind != "flatten":  # which moves nothing: its output is its input
            listed.append(_output(step, vectors))
    return listed


def _input(network: IntegerNetwork, vectors: Vectors) -> Iterator[Image]:
    table = network.input.table()
    if table is not None:
        note = "code = table[256 * channel + pixel]"
        yield Image(f"{FOLDER}/input.table.hex", "table", None, "channel, pixel", table, note)
        yield Image(f"{GOLDEN}/pixels.hex", "pixels", None, "NCHW", vectors["pixels"])
    yield Image(f"{GOLDEN}/input.hex", "input", None, "NCHW", vectors["codes"])


def _constants(step: Step, packed: bool) -> Iterator[Image]:
    stem = f"{FOLDER}/layer{step.index:02}"
    layout = packing(step) if packed else None
    if layout:
        values = words(step, layout)
        yield Image(f"{stem}.weight.packed.hex", "weight", step.index, "O, word", values)
    else:
        order = "OIHW" if step.weight.ndim == 4 else "OI"
        yield Image(f"{stem}.weight.hex", "weight", step.index, order, step.weight)
    yield _bias(step)
    if len(step.shifts) > 1:
        shifts = np.array(step.shifts, np.uint8)
        yield Image(f"{stem}.shift.hex", "shift", step.index, "O", shifts)
    if step.tile_ends is not None:
        order = "O, tile"
        yield Image(f"{stem}.tiles.hex", "tile_ends", step.index, order, step.tile_ends, TILES)


def _bias(step: Step) -> Image:
    note, file = FOLDED if step.is_folded else "", f"{FOLDER}/layer{step.index:02}.bias.hex"
    return Image(file, "bias", step.index, "O", step.bias, note)


def _output(step: Step, vectors: Vectors) -> Image:
    order = "NCHW" if len(step.output_shape) == 3 else "NC"
    values = vectors[f"layers.{step.index}.output"]
    return Image(f"{GOLDEN}/layer{step.index:02}.output.hex", "output", step.index, order, values)
