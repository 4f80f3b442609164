"""What a scheme asks of each weighted layer: the codes of its weights and of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from powtwo.conversion.scheme import Accumulator, LayerBits, Scheme
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.layer import WeightFormat
from powtwo.network.folded import FoldedLayer

T = TypeVar("T")


@dataclass(frozen=True)
class LayerQuantConfig:
    """The codes of one layer, before any exponent is known."""

    index: int  # in the network, pooling and flattening counted
    weights: WeightFormat
    by_channel: bool  # whether each output channel has a weight exponent of its own
    output: Grid | None  # None: int32 accumulators


def of_scheme(layers: Sequence[FoldedLayer], scheme: Scheme) -> list[LayerQuantConfig]:
    """Configure the weighted layers of a folded network, in order.

    Raises:
        ValueError: where the scheme has bits for a layer without weights, twice for one, or for the
            output of a last layer that gives int32.
    """
    weighted = [index for index, layer in enumerate(layers) if layer.weight is not None]
    bits = _bits_by_layer(weighted, scheme)
    return [
        _configure(
            index, layers[index], scheme, bits.get(index, LayerBits()), index == weighted[-1]
        )
        for index in weighted
    ]


def accumulators(layers: Sequence[FoldedLayer], scheme: Scheme) -> dict[int, Accumulator]:
    """Return the accumulators of each weighted layer of a folded network, by its index.

    Raises:
        ValueError: as `of_scheme`.
    """
    weighted = [index for index, layer in enumerate(layers) if layer.weight is not None]
    bits = _bits_by_layer(weighted, scheme)
    own = {index: bits[index].accumulator if index in bits else None for index in weighted}
    default = scheme.accumulator or Accumulator()
    return {
        index: default.model_copy(update={"bits": width} if width else {})
        for index, width in own.items()
    }


def _configure(
    index: int, layer: FoldedLayer, scheme: Scheme, bits: LayerBits, last: bool
) -> LayerQuantConfig:
    weights = WeightFormat(bits.weights or scheme.weights.bits, bits.kind or scheme.weights.kind)
    output = None
    if not last or scheme.logits == "codes":
        # Without ReLU half of the values are negative, and 0 must stand in the middle; where it
        # does, the middle is that of the layer's own bits.
        at_zero = layer.relu and scheme.activations.zero_point == 0
        output_bits = bits.activations or scheme.activations.bits
        output = Grid.of_activations(output_bits, 0 if at_zero else None)
    # Classes are compared by their accumulators, which must then all have one exponent.
    by_channel = scheme.weights.per == "channel" and output is not None
    return LayerQuantConfig(index, weights, by_channel, output)


def by_index(named: Mapping[str, T], weighted: Sequence[int], what: str = "layers") -> dict[int, T]:
    """Return by its index what a layer has that is named first, last or by its index.

    Args:
        named: values by these names.
        weighted: indices of the layers with weights, in order.
        what: an error begins with it.

    Raises:
        ValueError: where a layer has no weights, or two names.
    """
    if not named:
        return {}
    names = {"first": weighted[0], "last": weighted[-1]} | {str(i): i for i in weighted}
    values: dict[int, T] = {}
    for name, value in named.items():
        if name not in names:
            raise ValueError(
                f"{what}: {name}: no layer with weights; use first, last or one of "
                f"{', '.join(map(str, weighted))}"
            )
        if names[name] in values:
            raise ValueError(f"{what}: {name}: names layer {names[name]} a second time; leave one")
        values[names[name]] = value
    return values


def _bits_by_layer(weighted: Sequence[int], scheme: Scheme) -> dict[int, LayerBits]:
    """Return the bits of the layers that a scheme names by first, last or their index."""
    by_layer = by_index(scheme.layers, weighted)
    last = by_layer.get(weighted[-1]) if by_layer else None
    if last is not None and last.activations and scheme.logits == "int32":
        raise ValueError(
            f"layers: activations = {last.activations} of the last layer: its output is "
            "int32; leave it out, or set logits: codes"
        )
    return by_layer
