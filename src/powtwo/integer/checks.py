"""Whether an integer network's metadata and its tensors fit each other; without PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.core import strict
from powtwo.core.strict import require
from powtwo.core.tensors import Arrays, check_array
from powtwo.dataset.params import check_normalization
from powtwo.integer import geometry, schema, tiles
from powtwo.integer.geometry import Shape
from powtwo.integer.schema import Codes, Weighted

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
    codes: Codes | None = network.input.codes
    for index, layer in enumerate(network.layers):
        where = f"layer {index}: "
        if isinstance(layer, Weighted):
            codes = _check_weighted(where, index, layer, codes, arrays)
        elif layer.kind != "flatten":
            require(codes is not None, f"{where}kind", layer.kind, "must not come after int32")
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
    shape: Shape = tuple(pixels.shape)
    for index, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        kernel = None if weight is None else weight.shape
        values = layer.model_dump(exclude_none=True)
        shape = geometry.output_shape(index, values, kernel, shape)
    rule = f"must be {(len(classes),)}, one for each class"
    require(shape == (len(classes),), f"layer {len(layers) - 1}: output shape", shape, rule)


def _check_weighted(
    where: str, index: int, layer: Weighted, codes: Codes | None, arrays: Arrays
) -> Codes | None:
    """Check one layer that reads `codes`; return what it gives."""
    require(codes is not None, f"{where}kind", layer.kind, "must not come after int32")
    for name, value, given in zip(Codes._fields, layer.reads, codes or (), strict=True):
        rule = f"must be {given}, which is what the layers before it give"
        require(value == given, f"{where}input_{name}", value, rule)
    weight, bias = arrays[f"layers.{index}.weight"], arrays[f"layers.{index}.bias"]
    _check_output(where, layer, len(weight) if weight.ndim else 0)
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
    return layer.gives


def _check_output(where: str, layer: Weighted, channels: int) -> None:
    """Check the keys of the output, and the shift against the exponents."""
    keys = [*(f"output_{name}" for name in Codes._fields), "shift"]
    for key in keys:
        value = getattr(layer, key)
        if layer.output == "codes":
            require(value is not None, f"{where}{key}", value, "must be there, as output is codes")
        else:
            require(value is None, f"{where}{key}", value, "must be absent, as output is int32")
    exponents = layer.weight_exponent
    if isinstance(exponents, list):
        rule = f"must be {channels}, one for each output channel"
        require(len(exponents) == channels, f"{where}weight_exponent: length", len(exponents), rule)
    gives = layer.gives
    if gives is None:
        rule = "must be one for all channels, as output is int32: classes are compared by it"
        require(isinstance(exponents, int), f"{where}weight_exponent", exponents, rule)
        return
    check_zero_point(f"{where}output_", gives)
    unit = gives.exponent - layer.input_exponent
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
        sides = (layer.kernel, layer.kernel)
        require(sides == weight.shape[2:], f"{where}kernel", layer.kernel, rule)
        rule = f"must be below the kernel's {layer.kernel}"
        require(layer.padding < layer.kernel, f"{where}padding", layer.padding, rule)
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
