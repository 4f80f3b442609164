"""Operations of each layer for one image, and their energy by a table of prices, in exact pJ.

Counts know no prices and prices no layers.

Sources:
1. Prices: Horowitz 2014, ISSCC, https://doi.org/10.1109/ISSCC.2014.6757323
2. The operations of an integer layer: docs/energy.md; its arithmetic: docs/arithmetic.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

from powtwo.energy.operation_prices import Table
from powtwo.energy.params import Energy
from powtwo.integer.shapes import LayerShape

ARITHMETICS = ("float", "integer")
CONVENTIONS: tuple[str, ...] = get_args(Energy.model_fields["zero_point"].annotation)
PJ_IN_UJ = 10**6
KINDS = ("multiply", "accumulate", "spill", "bias", "zero_point", "requantize")
GATES = {1: "xor", 2: "mux"}  # by bits of the integers that weights are: ±1, or −1, 0 and 1

Pj = Fraction | None  # None where a price is unknown


@dataclass(frozen=True)
class OpCounts:
    """Operations of one kind and data type in a layer, for one image: `times` · `each`."""

    layer: LayerShape
    arithmetic: str  # of ARITHMETICS
    kind: str  # of KINDS, or of memory.KINDS
    operation: str  # its data type and name, the key of its price
    times: int  # outputs of the layer, or its inputs where each costs once
    each: int

    @property
    def count(self) -> int:
        """Operations for one image."""
        return self.times * self.each


Sums = Callable[[LayerShape], list[OpCounts]]  # counts a layer's products and their sums


def float_counts(layers: Iterable[LayerShape]) -> list[OpCounts]:
    """Count FP32: K multiplications, K − 1 additions and one addition of the bias an output."""
    return [item for layer in layers for item in _sums(layer, "float", "fp32_multiply", "fp32_add")]


def integer_counts(
    layers: Iterable[LayerShape],
    convention: str,
    sums: Sums | None = None,
) -> list[OpCounts]:
    """Count integers: the same sums, as wide as the accumulator, then zero points and shifts.

    A weight of ±2^k shifts the code instead of multiplying it (int4x8_shift), a weight of −1, 0 or
    1 selects it (int2x8_mux). Its sign makes the addition that follows a subtraction, which costs
    the same.

    Args:
        layers: the layers that add up, in order. Additions and averages cost their additions, the
            shift that brings an input to the scale of the other, zero points and requantizing.
        convention: how z_x is subtracted: `per_use` (at each multiplication), `per_input` (once
            for each input element), `folded` (into the bias, free) or `msb_flip` (the top bit
            inverted, free for z_y too).
        sums: counts the products of a layer and their sums; None: in one accumulator an output.

    Raises:
        ValueError: where there is no such convention.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"energy.zero_point = {convention}: must be one of {CONVENTIONS}")
    return [
        item
        for layer in layers
        for item in (
            *(sums or accumulator_sums)(layer),
            *_zero_point(layer, convention),
            *_requantize(layer, convention),
        )
    ]


def total_energy(counts: Iterable[OpCounts], table: Table) -> Fraction:
    """Return the energy of all layers in pJ; an UnpricedError where the table lacks a price."""
    return sum((item.count * table[item.operation] for item in counts), Fraction(0))


def energy_by_kind(counts: Iterable[OpCounts], table: Table) -> dict[str, Fraction]:
    """Return `total_energy` for each of KINDS."""
    sums = dict.fromkeys(KINDS, Fraction(0))
    for item in counts:
        sums[item.kind] += item.count * table[item.operation]
    return sums


def first_unpriced(counts: Iterable[OpCounts], table: Table) -> str | None:
    """Return the first operation that the table has no price for; None where it has all."""
    return next((item.operation for item in counts if table.get(item.operation) is None), None)


def arithmetic_energies(
    layers: Sequence[LayerShape],
    table: Table,
    convention: str,
    sums: Sums | None = None,
) -> tuple[Fraction, Pj]:
    """Return the energy of FP32 and of integers in pJ, None for integers without a price.

    Raises:
        UnpricedError: where the table lacks a price of FP32.
    """
    exact, integer = float_counts(layers), integer_counts(layers, convention, sums)
    integer_pj = None if first_unpriced(integer, table) else total_energy(integer, table)
    return total_energy(exact, table), integer_pj


def compared(float_pj: Pj, integer_pj: Pj) -> dict[str, float | None]:
    """Return energies in µJ, and their ratio, float over integer; None where one is unknown."""
    return {
        "float_uj": microjoules(float_pj),
        "integer_uj": microjoules(integer_pj),
        "ratio": ratio(float_pj, integer_pj),
    }


def microjoules(pj: Pj) -> float | None:
    """Return an energy in µJ; None where it is unknown."""
    return None if pj is None else float(pj / PJ_IN_UJ)


def ratio(float_pj: Pj, integer_pj: Pj) -> float | None:
    """Return how many times as much FP32 costs; None where one is unknown."""
    return None if float_pj is None or integer_pj is None else float(float_pj / integer_pj)


def added(first: tuple[Pj, Pj], second: tuple[Pj, Pj]) -> tuple[Pj, Pj]:
    """Add energies of FP32 and of integers in pJ; None where one is unknown."""
    exact, integer = (
        None if one is None or other is None else one + other
        for one, other in zip(first, second, strict=True)
    )
    return exact, integer


def _sums(layer: LayerShape, arithmetic: str, multiply: str, add: str) -> list[OpCounts]:
    """Count the sum of products and the bias, the same in every arithmetic."""
    if not layer.has_weights:
        return [OpCounts(layer, arithmetic, "accumulate", add, layer.outputs, layer.fan_in - 1)]
    return [
        OpCounts(layer, arithmetic, "multiply", multiply, layer.outputs, layer.fan_in),
        OpCounts(layer, arithmetic, "accumulate", add, layer.outputs, layer.fan_in - 1),
        OpCounts(layer, arithmetic, "bias", add, layer.outputs, 1),
    ]


def accumulator_sums(layer: LayerShape) -> list[OpCounts]:
    """Count a layer's products, and their sums in accumulators of its width.

    In tiles, each of the K products is added to its tile's sum, which starts at 0, and each tile's
    sum to an int32, which starts as the bias.
    """
    narrow = f"int{layer.accumulator_bits}_add"
    if not layer.has_weights:
        return _sums(layer, "integer", "", narrow)
    if not layer.spills:
        return _sums(layer, "integer", product(layer), narrow)
    positions = layer.spilled // layer.spills
    return [
        OpCounts(layer, "integer", "multiply", product(layer), layer.outputs, layer.fan_in),
        OpCounts(layer, "integer", "accumulate", narrow, layer.outputs, layer.fan_in),
        OpCounts(layer, "integer", "spill", "int32_add", positions, layer.spills),
    ]


def product(layer: LayerShape) -> str:
    """Name the product of a weight and a code: int8_multiply, int4x8_shift, int2x4_mux.

    A table that prices only int8 then refuses other widths instead of taking them for int8. A code
    of one bit selects the weight or 0, whatever the weight is: int4x1_and.
    """
    weight_bits = layer.weight_bits if layer.weight_kind == "uniform" else layer.weight_code_bits
    name = "multiply" if layer.weight_kind == "uniform" else "shift"
    name = "and" if layer.input_bits == 1 else GATES.get(layer.weight_bits, name)
    equal = weight_bits == layer.input_bits
    return f"int{weight_bits}_{name}" if equal else f"int{weight_bits}x{layer.input_bits}_{name}"


def _zero_point(layer: LayerShape, convention: str) -> list[OpCounts]:
    if not layer.has_weights and convention == "folded" and layer.input_zero_point:
        # There is no bias that could hold the constant.
        return [OpCounts(layer, "integer", "zero_point", "int32_add", layer.outputs, 1)]
    costs = {"per_use": (layer.outputs, layer.fan_in), "per_input": (layer.inputs, 1)}
    if layer.input_zero_point == 0 or convention not in costs:
        return []
    subtract = f"int{layer.input_bits}_add"
    return [OpCounts(layer, "integer", "zero_point", subtract, *costs[convention])]


def _requantize(layer: LayerShape, convention: str) -> list[OpCounts]:
    if layer.output_bits is None:  # the output is the int32 accumulators
        return []
    operations = ["shift", *(["shift"] if layer.aligned else [])]
    if layer.output_zero_point != 0 and convention != "msb_flip":
        operations.append(f"int{layer.output_bits}_add")
    return [OpCounts(layer, "integer", "requantize", name, layer.outputs, 1) for name in operations]
