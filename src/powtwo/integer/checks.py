"""Whether an integer network's metadata and its tensors fit each other; without PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.core import graph, strict
from powtwo.core.strict import require
from powtwo.core.tensors import Arrays, check_array
from powtwo.core.windows import four, pair
from powtwo.dataset.params import check_normalization
from powtwo.integer import geometry, schema, tiles, weightless
from powtwo.integer.geometry import Shape
from powtwo.integer.schema import Accumulating, Codes, Weighted

Array = npt.NDArray[Any]
Parts = Callable[[Any], Iterable[str]]
TILE_ENDS = "tile_ends"  # the tensor of a layer's tiles


def check(network: schema.Network, arrays: Arrays) -> None:
    """Hold each layer against those before it, and against its own tensors.

    Raises:
        ValueError: naming the layer, the key, its value and the rule.
    """
    check_names(network.layers, arrays, _parts)
    check_input(network.input)
    kinds = [layer.kind for layer in network.layers]
    require(
        any(isinstance(layer, Weighted) for layer in network.layers),
        "layers",
        kinds,
        "must have one with weights",
    )
    codes: dict[int, Codes | None] = {graph.IMAGE: network.input.codes}
    for index, (layer, sources) in enumerate(
        zip(network.layers, graph.sources(network.layers), strict=True)
    ):
        codes[index] = _check_layer(index, layer, [codes[source] for source in sources], arrays)
    weights = [arrays.get(f"layers.{index}.weight") for index in range(len(network.layers))]
    check_shapes(network.input, network.layers, weights, network.classes)


def check_names(
    layers: Sequence[Any], arrays: Arrays, needed: Parts, allowed: Parts = lambda _: ()
) -> None:
    """Refuse a file that lacks a tensor or has one too many.

    Args:
        layers: in order.
        arrays: the tensors.
        needed: names those that a layer must have, without what comes before its last point.
        allowed: names further ones that it may have.
    """
    for names, others, fault in (
        (_names(layers, needed), arrays.keys(), "missing"),
        (arrays.keys(), _names(layers, needed) | _names(layers, allowed), "of no layer"),
    ):
        if wrong := names - others:
            raise ValueError(f"tensor {min(wrong)}: {fault}")


def _names(layers: Sequence[Any], parts: Parts) -> set[str]:
    return {f"layers.{index}.{part}" for index, layer in enumerate(layers) for part in parts(layer)}


def check_input(pixels: schema.Input) -> None:
    """Check what the network reads."""
    check_zero_point("input ", pixels.codes)
    check_normalization("input ", pixels.normalize, pixels.mean, pixels.std, pixels.shape[0])


def check_zero_point(where: str, codes: Codes) -> None:
    """Check that the zero point is a code."""
    largest = 2**codes.bits - 1
    holds = codes.zero_point <= largest
    require(holds, f"{where}zero_point", codes.zero_point, f"must be 0 to {largest}")


def check_shapes(
    pixels: schema.Input, layers: Sequence[Any], weights: Sequence[Array | None], classes: list[str]
) -> None:
    """Follow the shape of an image through the layers, to one number for each class."""
    ((name, times),) = Counter(classes).most_common(1)
    require(times == 1, "classes", [name], "must differ from each other")
    shapes: dict[int, Shape] = {graph.IMAGE: tuple(pixels.shape)}
    for index, sources in enumerate(graph.sources(layers)):
        layer, weight = layers[index], weights[index]
        if hasattr(layer, "kernel"):
            check_sides(f"layer {index}: ", layer)
        kernel = None if weight is None else weight.shape
        values = layer.model_dump(exclude_none=True)
        inputs = [shapes[source] for source in sources]
        shapes[index] = geometry.output_shape(index, values, kernel, *inputs)
    shape = shapes[len(layers) - 1]
    rule = f"must be {(len(classes),)}, one for each class"
    require(shape == (len(classes),), f"layer {len(layers) - 1}: output shape", shape, rule)


def check_sides(where: str, layer: Any) -> None:
    """Check the kernel and the padding of a window, where it has any."""
    if layer.kernel == 0:  # what a calibrated layer says that has none
        return
    padding = layer.padding
    is_known = isinstance(padding, int) or len(padding) in (2, 4)
    require(is_known, f"{where}padding", padding, "must be a number, or a list of two or four")
    high, wide = pair(layer.kernel)
    top, left, bottom, right = four(padding)
    rule = f"must be below the kernel's {strict.shown(layer.kernel)}"
    require(max(top, bottom) < high and max(left, right) < wide, f"{where}padding", padding, rule)


def _check_layer(
    index: int, layer: Any, codes: Sequence[Codes | None], arrays: Arrays
) -> Codes | None:
    """Check one layer that reads `codes`; return what it gives."""
    where = f"layer {index}: "
    if layer.kind == "flatten":
        return codes[0]
    require(None not in codes, f"{where}kind", layer.kind, "must not come after int32")
    if not isinstance(layer, Accumulating):
        return codes[0]
    for name in Codes._fields:
        given = [getattr(each, name) for each in codes]
        value = getattr(layer, f"input_{name}")
        wanted = given if layer.kind == "add" else given[0]
        rule = f"must be {wanted}, which is what the layers before it give"
        require(value == wanted, f"{where}input_{name}", value, rule)
    _check_maximum(where, layer)
    if isinstance(layer, Weighted):
        _check_weighted(where, index, layer, arrays)
    else:
        _check_weightless(where, layer)
    return layer.gives


def _check_maximum(where: str, layer: Accumulating) -> None:
    """Check that ReLU6 cuts where codes are, below their largest and not below 0."""
    if layer.maximum is None:
        return
    require(layer.relu, f"{where}maximum", layer.maximum, "must be absent, as relu is false")
    is_coded = layer.output_zero_point is not None and layer.output_bits is not None
    require(is_coded, f"{where}maximum", layer.maximum, "must be absent, as output is int32")
    low, high = layer.output_zero_point or 0, 2 ** (layer.output_bits or 0) - 1
    rule = f"must be {low}, its output_zero_point, to {high - 1}"
    require(low <= layer.maximum < high, f"{where}maximum", layer.maximum, rule)


def _check_weightless(where: str, layer: Any) -> None:
    """Check the output and the accumulators of an addition or an average."""
    reads, kernel = layer.reads, getattr(layer, "kernel", 0)
    exponents = [codes.exponent for codes in reads]
    _check_output(where, layer, weightless.exponent(layer.kind, exponents, kernel), 0, 1)
    most = [max(codes.zero_point, 2**codes.bits - 1 - codes.zero_point) for codes in reads]
    gains = weightless.gains(layer.kind, exponents, kernel)
    worst = weightless.bound(gains, [(-each, each) for each in most])
    worst += 0 if layer.shift is None else (1 << layer.shift) >> 1
    require(worst < 2**31, f"{where}accumulators", worst, "must stay below 2^31")


def _check_weighted(where: str, index: int, layer: Weighted, arrays: Arrays) -> None:
    """Check the tensors of one layer, and what they bound."""
    weight, bias = arrays[f"layers.{index}.weight"], arrays[f"layers.{index}.bias"]
    channels = len(weight) if weight.ndim else 0
    _check_output(where, layer, layer.input_exponent, layer.weight_exponent, channels)
    _check_weight(where, layer, weight)
    check_array(f"{where}bias", bias, "int32", weight.shape[:1])
    if isinstance(layer.shift, list):
        shift = arrays[f"layers.{index}.shift"]
        check_array(f"{where}tensor shift", shift, "int32", weight.shape[:1])
        rule = "must be what the tensor says, and is not"
        require(shift.tolist() == layer.shift, f"{where}shift", layer.shift, rule)
    _check_bound(where, layer, weight, bias)
    _check_width(where, layer, weight, bias)
    _check_tiles(where, layer, weight, arrays.get(f"layers.{index}.{TILE_ENDS}"))


def _check_output(
    where: str, layer: Accumulating, input_exponent: int, exponents: int | list[int], channels: int
) -> None:
    """Check the keys of the output, and the shift against the exponents of input and weight."""
    keys = [*(f"output_{name}" for name in Codes._fields), "shift"]
    for key in keys:
        value = getattr(layer, key)
        if layer.output == "codes":
            require(value is not None, f"{where}{key}", value, "must be there, as output is codes")
        else:
            require(value is None, f"{where}{key}", value, "must be absent, as output is int32")
    if isinstance(exponents, list):
        rule = f"must be {channels}, one for each output channel"
        require(len(exponents) == channels, f"{where}weight_exponent: length", len(exponents), rule)
    gives = layer.gives
    if gives is None:
        rule = "must be one for all channels, as output is int32: classes are compared by it"
        require(isinstance(exponents, int), f"{where}weight_exponent", exponents, rule)
        return
    check_zero_point(f"{where}output_", gives)
    unit = gives.exponent - input_exponent
    shift = unit - exponents if isinstance(exponents, int) else [unit - e for e in exponents]
    rule = f"its exponents give {strict.shown(shift)}, output less input less weight"
    require(layer.shift == shift, f"{where}shift", layer.shift, rule)


def _check_weight(where: str, layer: Weighted, weight: Array) -> None:
    """Check that a weight has the shape, and is of the codes, that its layer says."""
    check_array(f"{where}weight", weight, "int8")
    dimensions = 4 if isinstance(layer, schema.Conv2d) else 2
    rule = f"must have {dimensions} sides of at least 1, as kind says"
    fits = weight.ndim == dimensions and weight.size > 0
    require(fits, f"{where}weight: shape", weight.shape, rule)
    if isinstance(layer, schema.Conv2d):
        rule = f"must be {weight.shape[2:]}, the sides of the weight"
        require(pair(layer.kernel) == weight.shape[2:], f"{where}kernel", layer.kernel, rule)
        rule = f"must divide the {len(weight)} output channels"
        require(len(weight) % layer.groups == 0, f"{where}groups", layer.groups, rule)
    most, least = int(weight.max()), int(weight.min())
    for key, low, high in _limits(where, layer):
        bounds = f"within ±{high}" if low == -high else f"{low} to {high}"
        worst = max(most, -least) if low == -high else most if most > high else least
        fits = low <= least and most <= high
        require(fits, f"{where}weight", worst, f"must be {bounds}, as {key} says")
    if layer.weight_kind:
        _check_powers(where, layer.weight_kind == "power_of_two", weight)


def _check_powers(where: str, zero: bool, weight: Array) -> None:
    steps = np.abs(weight.astype(np.int16))
    others = weight[((steps & (steps - 1)) != 0) | ((steps == 0) & (not zero))]
    rule = "must be 0 or ±2^k" if zero else "must be ±2^k"
    require(not others.size, f"{where}weight", others[:1].tolist(), rule)


def _limits(where: str, layer: Weighted) -> Iterator[tuple[str, int, int]]:
    """Yield what limits the weights, and between which ends."""
    largest = 2 ** (layer.weight_bits - 1) - 1
    if layer.weight_kind != "power_of_two_nonzero":
        yield f"weight_bits = {layer.weight_bits}", -largest, largest
    kind, bits = layer.weight_kind, layer.weight_code_bits
    rule = "must stand with weight_kind, and only with it"
    require((kind is None) == (bits is None), f"{where}weight_code_bits", bits, rule)
    if bits is not None:
        assert kind is not None
        width, key = schema.width(kind, bits), f"weight_code_bits = {bits}"
        rule = f"must be {width}, which {key} tell apart"
        require(layer.weight_bits == width, f"{where}weight_bits", layer.weight_bits, rule)
        if kind == "power_of_two":
            yield key, -(2 ** (width - 2)), 2 ** (width - 2)
        else:
            require(
                bits > 2, f"{where}weight_code_bits", bits, f"must be 3 or 4, as kind is {kind}"
            )
            low = -(2 ** (2 ** (bits - 1) - 1))
            yield key, low, min(-low, 2**6)


def _check_bound(where: str, layer: Weighted, weight: Array, bias: Array) -> None:
    """Check that no input makes an accumulator leave int32: |b| + Σ|w|·max|x − z|, and the half."""
    zero, bits = layer.input_zero_point, layer.input_bits
    most = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(1)
    bound = np.abs(bias.astype(np.int64)) + most * max(zero, 2**bits - 1 - zero)
    if layer.shift is not None:
        bound += (1 << np.array(layer.shift)) >> 1
    worst = int(bound.max())
    require(worst < 2**31, f"{where}accumulators", worst, "must stay below 2^31")


def _check_width(where: str, layer: Weighted, weight: Array, bias: Array) -> None:
    """Check that no input makes an accumulator of few bits overflow, in any order of its sum."""
    if layer.accumulator_bits is None or layer.spills is not None:
        return
    start, half = bias.astype(np.int64), (1 << np.array(layer.shift or 0)) >> 1
    most, least = (sums.sum(1) for sums in tiles.product_sums(weight, *_input_range(layer)))
    bound = np.maximum(most + start.clip(min=0), least + (-start).clip(min=0)) + half
    bits, worst = layer.accumulator_bits, int(bound.max())
    rule = f"must stay below 2^{bits - 1}, as accumulator_bits = {bits}"
    require(worst < 2 ** (bits - 1), f"{where}accumulators", worst, rule)


def _check_tiles(where: str, layer: Weighted, weight: Array, ends: Array | None) -> None:
    """Check that tiles are runs of taps, cover each output, and fit their accumulators."""
    if layer.spills is None or ends is None:  # `check_names` has seen to it that both are there
        return
    bits, taps = layer.accumulator_bits, weight[0].size
    require(bits is not None, f"{where}accumulator_bits", bits, "must be there, as spills is")
    assert bits is not None
    check_array(f"{where}{TILE_ENDS}", ends, "int32")
    rule = f"must be ({len(weight)}, 1 to {taps})"
    fits = ends.ndim == 2 and len(ends) == len(weight) and 1 <= ends.shape[1] <= taps
    require(fits, f"{where}{TILE_ENDS}: shape", ends.shape, rule)
    if broken := tiles.fault(ends, taps):
        raise ValueError(f"{where}{TILE_ENDS}: {broken}")
    count = tiles.spills(ends)
    rule = f"must be {count}, the tiles of {TILE_ENDS}"
    require(layer.spills == count, f"{where}spills", layer.spills, rule)
    worst = tiles.largest_sum(weight, *_input_range(layer), ends)
    rule = f"must stay below 2^{bits - 1}, as accumulator_bits = {bits}"
    require(worst < 2 ** (bits - 1), f"{where}accumulators of a tile", worst, rule)


def _input_range(layer: Weighted) -> tuple[int, int]:
    """Return the least and the largest code less the zero point."""
    return -layer.input_zero_point, 2**layer.input_bits - 1 - layer.input_zero_point


def _parts(layer: Any) -> Iterator[str]:
    if isinstance(layer, Weighted):
        yield from ("weight", "bias")
        if isinstance(layer.shift, list):
            yield "shift"
        if layer.spills is not None:
            yield TILE_ENDS
