"""Bits that one image moves to and from memory, layer by layer, as terms that a table prices.

The model, for one image and without any reuse between images: each weight and bias is read once,
each input is read once, each output is written once. ReLU and the poolings after a layer work
before its output is written, so that the next layer reads what was written. A caching or tiling
that reads a value twice would cost more, one that keeps it near would cost less; padding is stored
nowhere. Codes are packed: 4 bits are half a byte. Shifts are left out, also where each channel
stores its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from powtwo.energy.counts import OpCounts, Term
from powtwo.energy.memory_table import MemoryTable
from powtwo.integer.shapes import LayerShape

KINDS = ("weights_read", "activations_read", "activations_written")
FLOAT_BITS = 32
INT32_BITS = 32  # of biases, and of accumulators that are not requantized
BITS_IN_KIB = 8 * 1024


def counts(
    layers: Sequence[LayerShape], arithmetic: str, weights_in: str, activations_in: str
) -> list[OpCounts]:
    """Count bits: `times` elements of `each` bits.

    Args:
        layers: what computes, in order.
        arithmetic: float (all FP32, the image too) or integer (codes in their stored widths).
        weights_in: the place that weights and biases are read from, such as dram.
        activations_in: the place that inputs are read from and outputs written to.
    """
    return [
        OpCounts(layer, arithmetic, _terms(layer, arithmetic, weights_in, activations_in))
        for layer in layers
    ]


def bits(moved: Sequence[OpCounts]) -> dict[str, int]:
    """Return the bits of all layers for each of KINDS."""
    sums = dict.fromkeys(KINDS, 0)
    for layer in moved:
        for term in layer.terms:
            sums[term.kind] += term.count
    return sums


def too_large(moved: Sequence[OpCounts], table: MemoryTable) -> list[str]:
    """List what does not fit its place, which the model moves as if it did.

    Weights of all layers must fit together; of activations, the input and the output of a layer;
    where weights and activations share a place, both.
    """
    needed: dict[str, dict[str, int]] = {}  # bits, by place and by what lies there
    for what, kinds, layers in (
        ("weights", KINDS[:1], [moved]),
        ("activations", KINDS[1:], [[layer] for layer in moved]),
    ):
        terms = [[t for x in group for t in x.terms if t.kind in kinds] for group in layers]
        place = terms[0][0].operation.removesuffix("_bit")
        most = max(sum(term.count for term in group) for group in terms)
        needed.setdefault(place, {})[what] = most
    return [
        f"{moved[0].arithmetic} {' and '.join(parts)}: {sum(parts.values()) / BITS_IN_KIB:,.0f} "
        f"KiB in {place}, which holds {capacity:,} KiB"
        for place, parts in needed.items()
        if (capacity := table.places[place].capacity_kib) is not None
        and sum(parts.values()) > capacity * BITS_IN_KIB
    ]


def _terms(
    layer: LayerShape, arithmetic: str, weights_in: str, activations_in: str
) -> tuple[Term, ...]:
    if arithmetic == "float":
        weight = bias = given = made = FLOAT_BITS
    else:
        weight, bias, given = layer.weight_code_bits, INT32_BITS, layer.input_bits
        made = INT32_BITS if layer.output_bits is None else layer.output_bits
    return (
        Term("weights_read", f"{weights_in}_bit", layer.weights, weight),
        Term("weights_read", f"{weights_in}_bit", layer.biases, bias),
        Term("activations_read", f"{activations_in}_bit", layer.inputs, given),
        Term("activations_written", f"{activations_in}_bit", layer.written, made),
    )
