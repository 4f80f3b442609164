"""Conversion: a float network with exponents in, the integer network out.

w̄ = round(w / 2^e_w), clamped        b̄ = round or floor(b / 2^(e_x + e_w))
0 ≤ n = e_y − e_x − e_w ≤ 31          where it is not, e_y is coarsened, then e_w
|a| < 2^31 for any input              where it is not, e_w is coarsened, and e_y where n is 0
|a| < 2^(P−1) for any input           where it is not, codes are restricted, or sums cut in tiles
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch

from powtwo.conversion import layer_config, narrow
from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.moves import ACCUMULATORS, ADDABLE, SHIFT, Move
from powtwo.conversion.narrow import Restriction
from powtwo.conversion.scheme import Accumulator, Scheme
from powtwo.conversion.weightless import convert_weightless, largest_code, plain_layer, too_fine
from powtwo.core import graph
from powtwo.integer import tiles
from powtwo.integer.fixedpoint import MAX_SHIFT, by_output, clipped, quantize, scaled
from powtwo.integer.layer import (
    INT32_BITS,
    INT32_LIMIT,
    ActivationQParams,
    Layer,
    as_exponents,
    check,
)
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import FoldedLayer

BIAS_LIMIT = 2.0**62  # of biases in int64, before it is known whether they fit int32
FEW = 8  # moves of a layer's channels that are told one by one
WIDE = Accumulator()
MOST_MOVES = 100  # of outputs that are added; each move is a conversion
Converted = tuple[Layer, list[Move], Restriction | None]


def _told(moves: Sequence[Move]) -> Iterator[str]:
    """Yield a line for each move, and one for many channels of a layer together."""
    for (layer, tensor, kept), group in groupby(
        moves, lambda move: (move.layer, move.tensor, move.kept)
    ):
        alike = list(group)
        if len(alike) <= FEW:
            yield from map(str, alike)
            continue
        steps = [move.after - move.before for move in alike]
        yield (
            f"layer {layer}, {len(alike)} channels: {tensor} exponents {min(steps)} to "
            f"{max(steps)} coarser, to keep {kept}"
        )


@dataclass(frozen=True)
class Conversion:
    """The integer network, and what conversion did to get it."""

    network: IntegerNetwork
    moves: tuple[Move, ...]
    clipped_weights: int  # float weights that round to a code beyond the largest
    zeroed: tuple[int, ...] = ()  # layers whose weights are all 0 now, and were not
    restrictions: tuple[Restriction, ...] = ()  # of codes, for accumulators of few bits

    @property
    def restricted_weights(self) -> int:
        """Return how many codes were moved towards 0 for accumulators of few bits."""
        return sum(each.weights for each in self.restrictions)

    @property
    def told(self) -> list[str]:
        """Return what a user should know of it, a line each."""
        zeroed = [
            f"layer {i}: every weight becomes 0: all are below half a step" for i in self.zeroed
        ]
        return [*_told(self.moves), *map(str, self.restrictions), *zeroed]


def convert(calibrated: Calibrated, name: str, scheme: Scheme) -> Conversion:
    """Convert a calibrated network by a scheme called `name`; any that is finite can be."""
    calibrated, moves = with_addable_inputs(calibrated, scheme)
    layers: list[Layer] = []
    restrictions: list[Restriction] = []
    for converted, moved, restriction in _converted(calibrated, scheme):
        layers.append(converted)
        moves += moved
        restrictions += [restriction] if restriction else []
    classes, pixels = calibrated.classes, calibrated.input
    network = IntegerNetwork(name, scheme.rounding, classes, pixels, tuple(layers))
    clipped_weights = sum(map(_clipped, layers, calibrated.folded))
    zeroed = [
        i for i, pair in enumerate(zip(layers, calibrated.folded, strict=True)) if _zeroed(*pair)
    ]
    return Conversion(network, tuple(moves), clipped_weights, tuple(zeroed), tuple(restrictions))


def with_addable_inputs(calibrated: Calibrated, scheme: Scheme) -> tuple[Calibrated, list[Move]]:
    """Coarsen the outputs that additions read where their exponents are too far apart to add.

    Raises:
        ValueError: where that does not end, as the coarser output depends on the finer one.
    """
    moves: list[Move] = []
    if any(layer.kind == "add" for layer in calibrated.folded):
        while (move := _first_too_fine(calibrated, scheme)) is not None:
            layers, output = list(calibrated.layers), calibrated.layers[move.layer].output
            assert output is not None
            coarser = replace(output, exponent=move.after)
            layers[move.layer] = replace(layers[move.layer], output=coarser)
            calibrated = replace(calibrated, layers=tuple(layers))
            moves.append(move)
            if len(moves) > MOST_MOVES:
                raise ValueError(
                    f"layer {move.layer}: output exponent = {move.after}: still too fine to be "
                    "added to an output that it scales; lower the weights of the layers between"
                )
    return calibrated, moves


def _first_too_fine(calibrated: Calibrated, scheme: Scheme) -> Move | None:
    """Return how the first output must be coarsened that is too fine to be added."""
    folded = calibrated.folded
    reads = graph.sources(folded)
    for index, (layer, *_) in enumerate(_converted(calibrated, scheme)):
        if not (steps := too_fine(layer)):
            continue
        exponents = [each.exponent for each in layer.reads]
        source = reads[index][exponents.index(min(exponents))]
        source = graph.follow(reads, source, lambda i: not folded[i].accumulates)
        if source != graph.IMAGE:  # which cannot be coarsened; `check` refuses it
            return Move(source, "output", min(exponents), min(exponents) + steps, ADDABLE)
    return None


def _converted(calibrated: Calibrated, scheme: Scheme) -> Iterator[Converted]:
    """Yield each layer in integers, and what was done for it."""
    codes = {graph.IMAGE: calibrated.input.codes}
    accumulators = layer_config.accumulators(calibrated.folded, scheme)
    for index, sources in enumerate(graph.sources(calibrated.folded)):
        inputs = [codes[source] for source in sources]
        accumulator = accumulators.get(index, WIDE)
        layer = _convert(index, calibrated.layers[index], inputs, scheme, accumulator)
        codes[index] = layer[0].output or inputs[0]
        yield layer


def convert_layer(
    index: int,
    layer: CalibratedLayer,
    codes: Sequence[ActivationQParams],
    scheme: Scheme,
    accumulator: Accumulator = WIDE,
) -> Layer:
    """Convert one layer alone, which reads `codes`, one of each input."""
    converted, *_ = _convert(index, layer, codes, scheme, accumulator)
    check(index, converted)
    return converted


def metrics(conversion: Conversion) -> dict[str, int]:
    """Sum a conversion up: shifts, accumulator bits (sign included), clipped weights, moves."""
    sums = [layer for layer in conversion.network.layers if layer.accumulates]
    none = torch.zeros(1, dtype=torch.int64)  # where accumulators are the only output
    shifts = torch.cat([layer.shift.view(-1) for layer in sums if layer.output] or [none])
    return {
        "min_shift": int(shifts.min()),
        "max_shift": int(shifts.max()),
        "accumulator_bits": max(map(_accumulator_bits, sums)),
        "clipped_weights": conversion.clipped_weights,
        "moved_exponents": len(conversion.moves),
        "restricted_weights": conversion.restricted_weights,
    }


def _accumulator_bits(layer: Layer) -> int:
    """Return the bits that a layer's sums, or its tiles' sums, need."""
    if layer.tile_ends is not None:
        return layer.accumulator_bits
    narrow_sums = layer.accumulator_bits < INT32_BITS
    bound = layer.narrow_bound if narrow_sums else layer.bound
    return int(bound.max()).bit_length() + 1


def _convert(
    index: int,
    layer: CalibratedLayer,
    inputs: Sequence[ActivationQParams],
    scheme: Scheme,
    accumulator: Accumulator,
) -> Converted:
    if layer.source.weight is None:
        return *convert_weightless(index, layer, inputs), None
    (codes,) = inputs
    shifted = _fit_shift(layer, codes)
    bits = INT32_BITS if accumulator.tiles else accumulator.bits
    fitted, converted = _fit_accumulators(index, shifted, codes, scheme.bias, bits)
    kept = ACCUMULATORS.format(bits - 1)
    moves = [*_moves(index, layer, shifted, SHIFT), *_moves(index, shifted, fitted, kept)]
    restriction = None
    if bits < INT32_BITS:
        plain = _quantize(fitted, codes, scheme.bias)
        restriction = narrow.restriction(index, plain, converted)
    if accumulator.tiles:
        converted = _cut(index, converted, accumulator.bits)
    return converted, moves, restriction


def _fit_shift(layer: CalibratedLayer, codes: ActivationQParams) -> CalibratedLayer:
    """Coarsen e_y until no shift is below 0, then e_w where one is above 31."""
    if layer.output is None:
        return layer
    weights = torch.tensor(layer.weight_exponent)
    shifts = layer.output.exponent - codes.exponent - weights  # n = e_y − e_x − e_w
    coarser = max(0, -int(shifts.min()))
    output = replace(layer.output, exponent=layer.output.exponent + coarser)
    exponents = weights + (shifts + coarser - MAX_SHIFT).clamp(min=0)
    return replace(layer, output=output, weight_exponent=as_exponents(exponents.tolist()))


def _fit_accumulators(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, bias: str, width: int
) -> tuple[CalibratedLayer, Layer]:
    """Quantize, and coarsen e_w where accumulators would overflow, and e_y where it must follow.

    Of fewer bits than int32 has, only a bias coarsens an exponent here; codes are restricted.

    Weight decay takes a channel that died, or a layer, to weights of next to nothing, and its bias
    stays: in steps as fine as such weights ask for, the bias alone can need more than 32 bits.
    """
    while True:
        converted = _quantize(layer, codes, bias)
        if width < INT32_BITS:
            beyond = narrow.cannot_fit(index, converted, width)
        else:
            beyond = converted.bound >= INT32_LIMIT
        if not beyond.any():
            break
        assert converted.bias is not None
        # With fewer steps the bias alone would still be beyond.
        bits = torch.frexp((converted.bias.abs() >> (width - 1)).double()).exponent
        steps = torch.where(beyond, bits.clamp(min=1), 0)
        if isinstance(layer.weight_exponent, int):
            steps = steps.max()
        exponents = torch.tensor(layer.weight_exponent) + steps
        coarser = replace(layer, weight_exponent=as_exponents(exponents.tolist()))
        layer = _fit_shift(coarser, codes)
    if width < INT32_BITS:
        layer, converted = narrow.fit(layer, partial(_quantize, codes=codes, bias=bias), width)
    assert converted.bias is not None
    bias_codes = converted.bias.to(torch.int32)
    return layer, replace(converted, bias=bias_codes, accumulator_bits=width)


def _cut(index: int, layer: Layer, bits: int) -> Layer:
    """Return a layer whose accumulators have `bits`, in tiles where its sums need more.

    Raises:
        ValueError: where a single product does.
    """
    if int(layer.narrow_bound.max()) < 2 ** (bits - 1):
        return replace(layer, accumulator_bits=bits)
    assert layer.weight is not None
    weight = layer.weight.numpy()
    ends = tiles.plan(weight, *layer.input_range, bits)
    if ends is None:
        largest = max(int(sums.max()) for sums in tiles.product_sums(weight, *layer.input_range))
        needed = largest.bit_length() + 1
        raise ValueError(
            f"layer {index}: products reach {largest}: a tile of {bits} bits does not hold one; "
            f'set layers: "{index}": {{accumulator: {needed}}} or wider, or fewer bits of weights'
        )
    return replace(layer, accumulator_bits=bits, tile_ends=torch.from_numpy(ends))


def _moves(
    index: int, before: CalibratedLayer, after: CalibratedLayer, kept: str
) -> Iterator[Move]:
    """Yield a move for each exponent that is another."""
    if before.output is not None and after.output is not None:
        pair = before.output.exponent, after.output.exponent
        if pair[0] != pair[1]:
            yield Move(index, "output", *pair, kept)
    exponents = torch.tensor([before.weight_exponent, after.weight_exponent]).view(2, -1)
    for channel, (old, new) in enumerate(exponents.T.tolist()):
        if old != new:
            whose = channel if isinstance(before.weight_exponent, tuple) else None
            yield Move(index, "weight", old, new, kept, whose)


def _quantize(layer: CalibratedLayer, codes: ActivationQParams, bias: str) -> Layer:
    """Return the layer in integers; its bias is int64 and may be beyond int32."""
    source = layer.source
    assert source.weight is not None
    assert source.bias is not None
    exponent = by_output(layer.weight_exponent, source.weight)
    steps = scaled(source.bias, torch.tensor(layer.weight_exponent) + codes.exponent)
    rounded = torch.floor(steps) if bias == "floor" else torch.round(steps)
    return replace(
        plain_layer(source),
        weight=quantize(source.weight, exponent, layer.weight_format.grid).to(torch.int8),
        bias=rounded.clamp(-BIAS_LIMIT, BIAS_LIMIT).to(torch.int64),
        weight_exponent=layer.weight_exponent,
        weight_format=layer.weight_format,
        input=codes,
        output=layer.output,
        relu=source.relu,
        maximum=largest_code(source, layer.output),
    )


def _clipped(layer: Layer, folded: FoldedLayer) -> int:
    """Count float weights beyond the largest code, before any learning."""
    if folded.weight is None:
        return 0
    exponent = by_output(layer.weight_exponent, folded.weight)
    return int(clipped(folded.weight, exponent, layer.weight_format.grid))


def _zeroed(layer: Layer, folded: FoldedLayer) -> bool:
    """Tell whether every weight of a layer became 0."""
    if layer.weight is None or folded.weight is None:
        return False
    return not layer.weight.any() and bool(folded.weight.any())
