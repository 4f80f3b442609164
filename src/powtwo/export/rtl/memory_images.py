"""Memory images for Verilog's `$readmemh`: one two's-complement word a line, nothing else.

Words of int8 and uint8 have two hexadecimal digits, words of int32 eight. Every tensor lies in
C order: the last index runs fastest. Golden images follow each other, image by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.export.steps import Step, array, folded_bias, input_table, is_folded, of_network, shifts
from powtwo.integer.network import IntegerNetwork

FORMAT = "memory images"
FOLDER = "memory"
GOLDEN = f"{FOLDER}/golden"


@dataclass(frozen=True, eq=False)
class Image:
    """A tensor as a memory: int8, uint8 or int32 words, in C order."""

    file: str
    role: str  # weight, bias, shift, input, output, table, pixels
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


def images(network: IntegerNetwork, vectors: Mapping[str, npt.NDArray[np.generic]]) -> list[Image]:
    """List the images of a network and of its golden vectors.

    Args:
        network: the network.
        vectors: what `golden.vectors` gave for it.

    Raises:
        UnsupportedError: where a layer is of an unknown kind, or takes int32 accumulators.
    """
    made = list(_input(network, vectors))
    for step in of_network(network, FORMAT):
        if step.layer.has_weights:
            made += _constants(step, network.rounding)
        if step.layer.kind != "flatten":  # which moves nothing: its output is its input
            made.append(_output(step, vectors))
    return made


def read(text: str, image: Image) -> npt.NDArray[np.generic]:
    """Return the words of a file as an array of the type and shape of `image`.

    Raises:
        ValueError: where a line is no word of this width, or their number is wrong.
    """
    width = 2 * image.values.itemsize
    lines = text.split("\n")[:-1]
    if len(lines) != image.values.size or any(len(line) != width for line in lines):
        raise ValueError(
            f"{image.file}: must be {image.values.size} lines of {width} digits; export again"
        )
    big_endian = np.frombuffer(bytes.fromhex("".join(lines)), image.values.dtype.newbyteorder(">"))
    return big_endian.astype(image.values.dtype).reshape(image.values.shape)


def _input(
    network: IntegerNetwork, vectors: Mapping[str, npt.NDArray[np.generic]]
) -> Iterator[Image]:
    table = input_table(network.input)
    if table is not None:
        note = "code = table[256 * channel + pixel]"
        yield Image(f"{FOLDER}/input.table.hex", "table", None, "channel, pixel", table, note)
        yield Image(f"{GOLDEN}/pixels.hex", "pixels", None, "NCHW", vectors["pixels"])
    yield Image(f"{GOLDEN}/input.hex", "input", None, "NCHW", vectors["codes"])


def _constants(step: Step, rounding: str) -> Iterator[Image]:
    layer, stem = step.layer, f"{FOLDER}/layer{step.index:02}"
    weight = array(layer.weight)
    order = "OIHW" if weight.ndim == 4 else "OI"
    yield Image(f"{stem}.weight.hex", "weight", step.index, order, weight)
    note = "2^(shift - 1) is in it: shift with floor" if is_folded(layer, rounding) else ""
    bias = folded_bias(layer, rounding)
    yield Image(f"{stem}.bias.hex", "bias", step.index, "O", bias, note)
    amounts = shifts(layer)
    if len(amounts) > 1:
        values = np.array(amounts, np.uint8)
        yield Image(f"{stem}.shift.hex", "shift", step.index, "O", values)


def _output(step: Step, vectors: Mapping[str, npt.NDArray[np.generic]]) -> Image:
    order = "NCHW" if len(step.output_shape) == 3 else "NC"
    values = vectors[f"layers.{step.index}.output"]
    return Image(f"{GOLDEN}/layer{step.index:02}.output.hex", "output", step.index, order, values)
