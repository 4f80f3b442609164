"""Bits that one image moves to and from memory, and the tables `prices/memory/*.yaml` of a bit.

The model has no reuse, neither between images nor between layers: each weight and bias is read
once, each input is read once, each output is written once, after the ReLU and the poolings that
follow it. Hardware that reads a value twice would pay more, hardware that caches it less. Padding
is not stored. Codes are packed: 4 bits are half a byte. A shift that all channels share is wired;
one for each channel is read with the weights.

A memory table is separate from the table of operations, so that no sum mixes them by accident.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from powtwo.core.params import Count, Section
from powtwo.energy.counts import ARITHMETICS, OpCounts, total_energy
from powtwo.energy.operation_prices import FOLDER, Exact, Table, read_table
from powtwo.integer.shapes import LayerShape

KINDS = ("weights_read", "activations_read", "activations_written")
SHIFT_BITS = 5  # 0 to 31
WORD_BITS = 32  # of FP32 values, of int32 biases and accumulators
BITS_IN_KIB = 8 * 1024
ON_CHIP = "sram_1mb"  # for a sum with arithmetic in which no memory is off the chip


class MemoryLevel(Section):
    """A memory: what an access costs, in or out, and how much it holds."""

    price: Exact  # pJ an access
    capacity_kib: Count | None  # None: no limit that matters here
    source: str


class MemoryTable(Table):
    """Memories by name, such as `sram_1mb`; the operation `sram_1mb_bit` moves one bit."""

    access_bits: Count
    memory_levels: dict[str, MemoryLevel]

    def get(self, operation: str) -> Fraction | None:
        """Return the price of moving a bit in pJ, a share of an access: words are packed."""
        level = self.memory_levels.get(operation.removesuffix("_bit"))
        return None if level is None else level.price / self.access_bits


def load_memory_table(
    name: str, folder: Path = FOLDER / "memory", key: str = "energy.memory"
) -> MemoryTable:
    """Read `<folder>/<name>.yaml` as `read_table` does."""
    return read_table(MemoryTable, name, folder, key)


def memory_counts(
    layers: Sequence[LayerShape], arithmetic: str, weights_in: str, activations_in: str
) -> list[OpCounts]:
    """Count bits, `times` elements of `each` bits, by the memory levels they are moved to and from.

    Values are FP32 where the arithmetic is float, the image too, and else codes as they are stored.
    """
    weights, activations = f"{weights_in}_bit", f"{activations_in}_bit"
    counts = []
    for layer in layers:
        weight_bits, input_bits, output_bits = _stored_bits(layer, arithmetic)
        shifts = layer.shifts if arithmetic == "integer" else 0
        counts += [
            OpCounts(layer, arithmetic, kind, operation, elements, bits)
            for kind, operation, elements, bits in (
                ("weights_read", weights, layer.weights, weight_bits),
                ("weights_read", weights, layer.biases, WORD_BITS),
                *([("weights_read", weights, shifts, SHIFT_BITS)] if shifts else []),
                ("activations_read", activations, layer.inputs, input_bits),
                ("activations_written", activations, layer.written, output_bits),
            )
        ]
    return counts


def memory_energies(
    layers: Sequence[LayerShape], table: MemoryTable, weights_in: str, activations_in: str
) -> tuple[Fraction, Fraction]:
    """Return what memory costs in FP32 and in integers, in pJ."""
    exact, integer = (
        total_energy(memory_counts(layers, arithmetic, weights_in, activations_in), table)
        for arithmetic in ARITHMETICS
    )
    return exact, integer


def bits_by_kind(moved: Iterable[OpCounts]) -> dict[str, int]:
    """Return the bits of all layers for each of KINDS."""
    sums = dict.fromkeys(KINDS, 0)
    for item in moved:
        sums[item.kind] += item.count
    return sums


def too_large(
    layers: Sequence[LayerShape],
    arithmetic: str,
    table: MemoryTable,
    weights_in: str,
    activations_in: str,
) -> list[str]:
    """List what does not fit its memory level, which the model moves as if it did.

    Weights of all layers must fit together; of activations, the input and the output of a layer;
    where weights and activations share a level, both.
    """
    bits = [
        bits_by_kind(memory_counts([x], arithmetic, weights_in, activations_in)) for x in layers
    ]
    needed = {weights_in: {"weights": sum(each["weights_read"] for each in bits)}}
    needed.setdefault(activations_in, {})["activations"] = max(
        each["activations_read"] + each["activations_written"] for each in bits
    )
    lines = []
    for name, parts in needed.items():
        capacity, kib = table.memory_levels[name].capacity_kib, sum(parts.values()) / BITS_IN_KIB
        if capacity is not None and kib > capacity:
            lines.append(
                f"{arithmetic} {' and '.join(parts)}: {kib:,.0f} KiB in {name}, which holds "
                f"{capacity:,} KiB"
            )
    return lines


def _stored_bits(layer: LayerShape, arithmetic: str) -> tuple[int, int, int]:
    """Return the bits of a weight, of an input and of an output."""
    if arithmetic == "float":
        return WORD_BITS, WORD_BITS, WORD_BITS
    return layer.weight_code_bits, layer.input_bits, layer.output_bits or WORD_BITS
