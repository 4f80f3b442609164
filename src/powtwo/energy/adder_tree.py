"""Sums of products in a balanced tree of adders, instead of one accumulator an output.

The tree adds K products in pairs, then the sums in pairs: K − 1 additions, as many as before, of
adders that grow by a bit a level and start narrow. It needs K products at once, so it is an
assumption of plots/assumptions and not of the headline.
"""

from __future__ import annotations

from powtwo.energy.counts import OpCounts, accumulator_sums, product
from powtwo.integer.shapes import LayerShape

INT32_BITS = 32


def tree_sums(layer: LayerShape) -> list[OpCounts]:
    """Count a layer's products, the adders of each level and the bias.

    No sum passes the accumulator's width, so no adder is wider. A tree needs no tiles.
    """
    if not layer.has_weights:
        return accumulator_sums(layer)
    widest = INT32_BITS if layer.spills else layer.accumulator_bits
    counts = [OpCounts(layer, "integer", "multiply", product(layer), layer.outputs, layer.fan_in)]
    bits, values = product_bits(layer), layer.fan_in
    while values > 1:
        bits, adders = min(bits + 1, widest), values // 2
        operation = f"int{bits}_add"
        counts.append(OpCounts(layer, "integer", "accumulate", operation, layer.outputs, adders))
        values -= adders
    bias = f"int{widest}_add"
    return [*counts, OpCounts(layer, "integer", "bias", bias, layer.outputs, 1)]


def product_bits(layer: LayerShape) -> int:
    """Return the bits, sign included, of any product of a weight and a centered code."""
    if layer.weight_kind == "uniform":
        largest_weight = 2 ** (layer.weight_bits - 1) - 1
    else:  # 2^k of the largest k; where a weight may be 0, that takes the place of one more
        exponents = 2 ** (layer.weight_code_bits - 1)
        largest_weight = 2 ** (exponents - (2 if layer.weight_kind == "power_of_two" else 1))
    highest = 2**layer.input_bits - 1 - layer.input_zero_point
    return int(largest_weight * max(highest, layer.input_zero_point)).bit_length() + 1
