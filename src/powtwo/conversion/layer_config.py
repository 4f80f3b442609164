"""What a scheme asks of each computing layer: the codes of its weights and of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from powtwo.conversion.scheme import LayerBits, Scheme
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.layer import WeightFormat
from powtwo.network.folded import FoldedLayer


@dataclass(frozen=True)
class LayerQuantConfig:
    """The codes of one layer, before any exponent is known."""

    index: int  # in the network, pooling and flattening counted
    weights: WeightFormat
    by_channel: bool  # whether each output channel has a weight exponent of its own
    output_bits: int
    output: Grid | None  # None: int32 accumulators


def of_scheme(layers: Sequence[FoldedLayer], scheme: Scheme) -> list[LayerQuantConfig]:
    """Plan the computing layers of a folded network, in order.

    Raises:
        ValueError: where the scheme has bits for a layer that computes nothing, twice for one, or
            for the output of a last layer that gives int32.
    """
    computing = [index for index, layer in enumerate(layers) if layer.weight is not None]
    bits = _bits_by_layer(computing, scheme)
    return [_plan(i, i == computing[-1], layers[i], scheme, bits.get(i)) for i in computing]


def _plan(
    index: int, last: bool, layer: FoldedLayer, scheme: Scheme, bits: LayerBits | None
) -> LayerQuantConfig:
    kind = (bits and bits.kind) or scheme.weights.kind
    weight_bits = (bits and bits.weights) or scheme.weights.bits
    output_bits = (bits and bits.activations) or scheme.activations.bits
    grid = None
    if not last or scheme.logits == "codes":
        # Without ReLU half of the values are negative, and 0 must stand in the middle; where it
        # does, the middle is that of the layer's own bits.
        at_zero = layer.relu and scheme.activations.zero_point == 0
        grid = Grid.of_activations(output_bits, 0 if at_zero else None)
    # Classes are compared by their accumulators, which must then all have one exponent.
    by_channel = scheme.weights.per == "channel" and grid is not None
    return LayerQuantConfig(index, WeightFormat(weight_bits, kind), by_channel, output_bits, grid)


def _bits_by_layer(computing: Sequence[int], scheme: Scheme) -> dict[int, LayerBits]:
    """Find the layers that a scheme names: first, last, or the index in the network."""
    names = {"first": computing[0], "last": computing[-1]} | {str(i): i for i in computing}
    unknown = [name for name in scheme.layers if name not in names]
    if unknown:
        raise ValueError(
            f"layers: {unknown[0]}: no layer that computes; use first, last or one of "
            f"{', '.join(map(str, computing))}"
        )
    found: dict[int, LayerBits] = {}
    for name, bits in scheme.layers.items():
        if names[name] in found:
            raise ValueError(f"layers: {name}: names layer {names[name]} a second time; leave one")
        found[names[name]] = bits
    last = found.get(computing[-1])
    if last is not None and last.activations is not None and scheme.logits == "int32":
        raise ValueError(
            f"layers: activations = {last.activations} of the last layer: its output is int32; "
            "leave it out, or set logits: codes"
        )
    return found
