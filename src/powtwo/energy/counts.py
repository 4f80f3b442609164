"""Energy of one image: operations counted by layer and data type, then priced.

Counts know no prices and prices no layers. Sums are exact fractions, in pJ. Sources:
1. Prices: Horowitz 2014, ISSCC, https://doi.org/10.1109/ISSCC.2014.6757323
2. The operations of an integer layer: docs/energy.md; its arithmetic: docs/arithmetic.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

from powtwo.energy.params import Energy
from powtwo.energy.price_table import PriceTable, UnpricedError
from powtwo.integer.shapes import LayerShape

CONVENTIONS: tuple[str, ...] = get_args(Energy.model_fields["zero_point"].annotation)
KINDS = ("multiply", "accumulate", "bias", "zero_point", "requantize")
FIGURES = ("integer_uj", "ratio", "last_integer_pj")  # of a convention; None where it has no price
PJ_IN_UJ = 10**6


@dataclass(frozen=True)
class Term:
    """Operations of one kind and data type: `times` · `each` of them."""

    kind: str  # of KINDS, or of memory.KINDS
    operation: str  # its data type and name, the key of its price
    times: int  # outputs of the layer, or its inputs where each costs once
    each: int

    @property
    def count(self) -> int:
        """Operations for one image."""
        return self.times * self.each


@dataclass(frozen=True)
class OpCounts:
    """The operations of one layer for one image, in one arithmetic."""

    layer: LayerShape
    arithmetic: str  # float, integer
    terms: tuple[Term, ...]

    def energy(self, table: PriceTable) -> Fraction:
        """Return the layer's energy in pJ.

        Raises:
            ValueError: where the table lacks a price.
        """
        return sum((term.count * table[term.operation] for term in self.terms), Fraction(0))


def float_counts(layers: Sequence[LayerShape]) -> list[OpCounts]:
    """Count FP32: K multiplies, K − 1 adds and one bias add for each output."""
    return [OpCounts(layer, "float", _terms(layer, "fp32", "fp32_multiply")) for layer in layers]


def integer_counts(layers: Sequence[LayerShape], convention: str) -> list[OpCounts]:
    """Count integers: the same with int32 sums, then the zero points and the shift.

    Args:
        layers: what computes, in order.
        convention: how z_x is subtracted: `per_use` (at each multiplication), `per_input` (once
            for each input element), `folded` (into the bias, free) or `msb_flip` (the top bit
            inverted, free for z_y too).

    A weight of ±2^k shifts where another multiplies: int4x8_shift. Its sign turns the addition that
    follows into a subtraction, which costs the same.

    Raises:
        ValueError: where there is no such convention.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"energy.zero_point = {convention}: must be one of {CONVENTIONS}")
    return [
        OpCounts(layer, "integer", (*_integer_sums(layer), *_zero_and_shift(layer, convention)))
        for layer in layers
    ]


def total(counts: Iterable[OpCounts], table: PriceTable) -> Fraction:
    """Return the energy of all layers in pJ."""
    return sum((layer.energy(table) for layer in counts), Fraction(0))


def by_kind(
    counts: Iterable[OpCounts], table: PriceTable, kinds: Sequence[str] = KINDS
) -> dict[str, Fraction]:
    """Return the energy of all layers in pJ for each kind of term."""
    sums = dict.fromkeys(kinds, Fraction(0))
    for layer in counts:
        for term in layer.terms:
            sums[term.kind] += term.count * table[term.operation]
    return sums


def metrics(layers: Sequence[LayerShape], table: PriceTable, convention: str) -> dict[str, Any]:
    """Return the energies of the float and the integer network under a convention and under each.

    The last linear layer's are in pJ, the networks' in µJ; `ratio` is float over integer. The
    figures of another convention are None where it needs an operation without a price.

    Raises:
        ValueError: where the table lacks a price that FP32 or `convention` needs.
    """
    exact = float_counts(layers)
    configured = _compare(exact, layers, table, convention)
    return {
        "table": table.name,
        "zero_point": convention,
        "macs": sum(layer.macs for layer in layers),
        "float_uj": float(total(exact, table) / PJ_IN_UJ),
        "last_float_pj": float(exact[-1].energy(table)),
        **configured,
        "conventions": {
            name: _compare_if_priced(exact, layers, table, name) for name in CONVENTIONS
        },
    }


COLUMNS = ("layer", "layer_kind", "arithmetic", "kind", "operation", "times", "each", "count",
           "price_pj", "energy_pj", "part", "table")  # fmt: skip


def rows(
    counts: Iterable[OpCounts], table: PriceTable, part: str = "arithmetic"
) -> list[tuple[Any, ...]]:
    """Return one row of COLUMNS for each term of each layer; `part` is arithmetic or memory."""
    return [
        (item.layer.index, item.layer.kind, item.arithmetic, term.kind, term.operation,
         term.times, term.each, term.count, float(table[term.operation]),
         float(term.count * table[term.operation]), part, table.name)
        for item in counts
        for term in item.terms
    ]  # fmt: skip


def _compare(
    exact: Sequence[OpCounts], layers: Sequence[LayerShape], table: PriceTable, convention: str
) -> dict[str, float]:
    counts = integer_counts(layers, convention)
    integer = total(counts, table)
    return {
        "integer_uj": float(integer / PJ_IN_UJ),
        "ratio": float(total(exact, table) / integer),
        "last_integer_pj": float(counts[-1].energy(table)),
    }


def _compare_if_priced(
    exact: Sequence[OpCounts], layers: Sequence[LayerShape], table: PriceTable, convention: str
) -> dict[str, float] | dict[str, None]:
    try:
        return _compare(exact, layers, table, convention)
    except UnpricedError:
        return dict.fromkeys(FIGURES)


def _terms(layer: LayerShape, adder: str, multiply: str) -> tuple[Term, ...]:
    """Count the sum of products and the bias, the same in every arithmetic."""
    return (
        Term("multiply", multiply, layer.outputs, layer.fan_in),
        Term("accumulate", f"{adder}_add", layer.outputs, layer.fan_in - 1),
        Term("bias", f"{adder}_add", layer.outputs, 1),
    )


def _integer_sums(layer: LayerShape) -> tuple[Term, ...]:
    # int8_multiply for equal widths, else weight by code, as int4x8_multiply: a table that knows
    # only int8 refuses the others instead of taking them for the same.
    shifts = layer.weight_kind == "power_of_two"
    weight_bits = layer.weight_code_bits if shifts else layer.weight_bits
    widths = dict.fromkeys((weight_bits, layer.input_bits))
    name = "shift" if shifts else "multiply"
    return _terms(layer, "int32", f"int{'x'.join(map(str, widths))}_{name}")


def _zero_and_shift(layer: LayerShape, convention: str) -> tuple[Term, ...]:
    terms = []
    if layer.input_zero_point != 0:
        subtract = f"int{layer.input_bits}_add"
        if convention == "per_use":
            terms.append(Term("zero_point", subtract, layer.outputs, layer.fan_in))
        elif convention == "per_input":
            terms.append(Term("zero_point", subtract, layer.inputs, 1))
    if layer.output_bits is not None:  # int32 accumulators are not requantized
        terms.append(Term("requantize", "shift", layer.outputs, 1))
        if layer.output_zero_point != 0 and convention != "msb_flip":
            terms.append(Term("requantize", f"int{layer.output_bits}_add", layer.outputs, 1))
    return tuple(terms)
