"""Weights of few bits as packed words, the same in C and in memory images.

A code has 2 or 4 bits, whichever holds its weights. A uniform weight is two's complement. One that
is 0 or ±2^k is a sign in the highest bit, and below it 0 or 1 + k; 0 is all zeros in both. One that
is ±2^k without 0 is a sign and k, in 4 bits, where 2^7, which is no int8, gives its code to 0. The
row of an output channel, in the order of its weights, fills words of 32 bits from the lowest bits
of each, and its last word is filled up with codes of 0. Eight bits are int8 and not packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.export.steps import Step

WORD_BITS = 32
LAYOUT = (
    "words of 32 bits, the first code in the lowest bits; each output channel begins a word, codes "
    "of 0 fill its last; twos_complement, or sign_exponent: the highest bit is the sign, below it "
    "stand 0 for weight 0, and 1 + k for 2^k; sign_exponent_nonzero: k alone, and 7 without a sign "
    "for weight 0"
)
CODES = {
    "uniform": "twos_complement",
    "power_of_two": "sign_exponent",
    "power_of_two_nonzero": "sign_exponent_nonzero",
}


@dataclass(frozen=True)
class Packing:
    """How one layer's weights are packed."""

    code_bits: int  # 2 or 4
    code: str  # of CODES
    rows: int  # output channels
    row_words: int  # words of an output channel

    @property
    def is_powers(self) -> bool:
        """Tell whether a code is a sign and an exponent."""
        return self.code != CODES["uniform"]

    @property
    def zero(self) -> int:
        """Return the code of weight 0, which fills words up."""
        return 2 ** (self.code_bits - 1) - 1 if self.code == CODES["power_of_two_nonzero"] else 0

    @property
    def values(self) -> npt.NDArray[np.int8]:
        """Return the weight that each code is, int8 (2^code_bits,)."""
        half = 2 ** (self.code_bits - 1)
        if not self.is_powers:
            return np.array([*range(half), *range(-half, 0)], np.int8)
        if self.zero:
            signless = [*(2**k for k in range(half - 1)), 0]
            return np.array([*signless, *(-(2**k) for k in range(half))], np.int8)
        powers = [0, *(2**k for k in range(half - 1))]
        return np.array([*powers, *(-power for power in powers)], np.int8)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the packed weights."""
        return self.rows * self.row_words * WORD_BITS // 8

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the layer's packing."""
        return {
            "bytes": self.nbytes,
            "code": self.code,
            "code_bits": self.code_bits,
            "row_words": self.row_words,
        }


def packing(step: Step) -> Packing | None:
    """Return how a layer's weights are packed; None where they are not, or it has none."""
    bits = step.layer.weight_format.bits
    if not step.layer.has_weights or bits > 4:
        return None
    code_bits = 2 if bits == 2 else 4
    code = CODES[step.layer.weight_format.kind]
    row_words = -(-step.weight[0].size * code_bits // WORD_BITS)
    return Packing(code_bits, code, len(step.weight), row_words)


def packings(steps: Sequence[Step]) -> dict[int, Packing]:
    """Return the packing of each layer that has one, by the layer's index."""
    return {step.index: packed for step in steps if (packed := packing(step))}


def describe(steps: Sequence[Step]) -> dict[str, Any]:
    """Return what the manifest says of packing: its layout, and what all weights take by it."""
    sizes = {step.index: step.weight.size for step in steps if step.layer.has_weights}
    packed = {index: layout.nbytes for index, layout in packings(steps).items()}
    return {
        "int8_bytes": sum(sizes.values()),
        "layout": LAYOUT,
        "packed_bytes": sum({**sizes, **packed}.values()),
    }


def words(step: Step, packed: Packing) -> npt.NDArray[np.uint32]:
    """Return the packed weights, uint32 (O, row_words)."""
    weight = step.weight.reshape(len(step.weight), -1)
    bits, mask = packed.code_bits, 2**packed.code_bits - 1
    if packed.is_powers:
        _, exponent = np.frexp(weight)  # ±2^k is ±0.5 · 2^(k + 1), 0 is 0 · 2^0
        codes = exponent - (packed.zero > 0) + 2 ** (bits - 1) * (weight < 0)
    else:
        codes = weight & mask
    row = np.full((len(codes), packed.row_words, WORD_BITS // bits), packed.zero, np.uint32)
    row.reshape(len(codes), -1)[:, : codes.shape[1]] = codes
    shifts = np.arange(0, WORD_BITS, bits, dtype=np.uint32)
    packed_words: npt.NDArray[np.uint32] = np.bitwise_or.reduce(row << shifts, axis=2)
    return packed_words
