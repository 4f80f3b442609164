"""What a scheme asks of each weighted layer: the codes of its weights and of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from powtwo.conversion.scheme import Accumulator, LayerBits, Scheme
from powtwo.core import graph
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.layer import WeightFormat
from powtwo.network.folded import FoldedLayer

T = TypeVar("T")


@dataclass(frozen=True)
class LayerQuantConfig:
    """The codes of one layer, before any exponent is known."""

    index: int  # in the network, pooling and flattening counted
    weights: WeightFormat  # the default of an addition or an average, which has none
    by_channel: bool  # whether each output channel has a weight exponent of its own
    output: Grid | None  # None: int32 accumulators


def of_scheme(layers: Sequence[FoldedLayer], scheme: Scheme) -> list[LayerQuantConfig]:
    """Configure the layers of a folded network that add up, in order.

    Raises:
        ValueError: where the scheme has bits for a layer without weights, twice for one, or for the
            output of a last layer that gives int32.
    """
    reads = graph.sources(layers)
    sums = [index for index, layer in enumerate(layers) if layer.accumulates]
    last, bits = logits_layer(layers), _bits_by_layer(layers, scheme)
    return [
        _configure(
            index,
            layers[index],
            scheme,
            bits.get(index, LayerBits()),
            index == last,
            _never_negative(layers, reads, index),
        )
        for index in sums
    ]


def logits_layer(layers: Sequence[FoldedLayer]) -> int:
    """Return the layer that gives the logits; poolings and flattening may come after it."""
    reads = graph.sources(layers)
    return graph.follow(reads, len(layers) - 1, lambda i: not layers[i].accumulates)


def accumulators(layers: Sequence[FoldedLayer], scheme: Scheme) -> dict[int, Accumulator]:
    """Return the accumulators of each weighted layer of a folded network, by its index.

    Raises:
        ValueError: as `of_scheme`.
    """
    bits = _bits_by_layer(layers, scheme)
    default = scheme.accumulator or Accumulator()
    found = {}
    for index, layer in enumerate(layers):
        width = bits[index].accumulator if index in bits else None
        if layer.weight is not None:
            found[index] = default.model_copy(update={"bits": width} if width else {})
    return found


def _never_negative(
    layers: Sequence[FoldedLayer], reads: Sequence[graph.Sources], index: int
) -> bool:
    """Tell whether a layer gives nothing below 0: after a ReLU, or as an average of such."""
    if index == graph.IMAGE or layers[index].relu:
        return index != graph.IMAGE
    passes = not layers[index].accumulates or layers[index].kind == "avgpool2d"
    return passes and _never_negative(layers, reads, reads[index][0])


def _configure(  # noqa: PLR0917
    index: int, layer: FoldedLayer, scheme: Scheme, bits: LayerBits, last: bool, positive: bool
) -> LayerQuantConfig:
    weights = WeightFormat()
    if layer.weight is not None:
        kind = bits.kind or scheme.weights.kind
        weights = WeightFormat(bits.weights or scheme.weights.bits, kind)
    output = None
    if not last or scheme.logits == "codes":
        # Without ReLU half of the values are negative, and 0 must stand in the middle; where it
        # does, the middle is that of the layer's own bits.
        at_zero = positive and scheme.activations.zero_point == 0
        output_bits = bits.activations or scheme.activations.bits
        output = Grid.of_activations(output_bits, 0 if at_zero else None)
    # Classes are compared by their accumulators, which must then all have one exponent.
    by_channel = layer.weight is not None and scheme.weights.per == "channel" and output is not None
    return LayerQuantConfig(index, weights, by_channel, output)


def by_index(
    named: Mapping[str, T], layers: Sequence[FoldedLayer], what: str = "layers"
) -> dict[int, T]:
    """Return by its index what a layer has that is named first, last or by its index.

    Args:
        named: values by these names.
        layers: of the folded network.
        what: an error begins with it.

    Raises:
        ValueError: where a layer has no output of its own, or two names.
    """
    if not named:
        return {}
    sums = [index for index, layer in enumerate(layers) if layer.accumulates]
    first = next(index for index in sums if layers[index].weight is not None)
    names = {"first": first, "last": logits_layer(layers)} | {str(i): i for i in sums}
    values: dict[int, T] = {}
    for name, value in named.items():
        if name not in names:
            raise ValueError(
                f"{what}: {name}: no layer with codes of its own; use first, last or one of "
                f"{', '.join(map(str, sums))}"
            )
        if names[name] in values:
            raise ValueError(f"{what}: {name}: names layer {names[name]} a second time; leave one")
        values[names[name]] = value
    return values


def _bits_by_layer(layers: Sequence[FoldedLayer], scheme: Scheme) -> dict[int, LayerBits]:
    """Return the bits of the layers that a scheme names by first, last or their index."""
    by_layer = by_index(scheme.layers, layers)
    for index, bits in by_layer.items():
        if layers[index].weight is None and (bits.weights or bits.kind or bits.accumulator):
            raise ValueError(f"layers: {index}: has no weights; leave theirs out")
    last = by_layer.get(logits_layer(layers)) if by_layer else None
    if last is not None and last.activations and scheme.logits == "int32":
        raise ValueError(
            f"layers: activations = {last.activations} of the last layer: its output is "
            "int32; leave it out, or set logits: codes"
        )
    return by_layer
