"""Conversion: a float network with exponents in, the integer network out.

w̄ = round(w / 2^e_w), clamped        b̄ = round or floor(b / 2^(e_x + e_w))
0 ≤ n = e_y − e_x − e_w ≤ 31          where it is not, e_y is coarsened, then e_w
|a| < 2^31 for any input              where a channel has an e_w of its own, that is coarsened
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.integer.fixedpoint import MAX_SHIFT, by_output, clipped, quantize, scaled
from powtwo.integer.layer import (
    INT32_LIMIT,
    ActivationQParams,
    Exponents,
    Layer,
    as_exponents,
    check,
)
from powtwo.integer.network import IntegerNetwork
from powtwo.network.folded import FoldedLayer

BIAS_LIMIT = 2.0**62  # of biases in int64, before it is known whether they fit int32


@dataclass(frozen=True)
class Move:
    """An exponent that had to be coarsened to keep a shift or an accumulator within its range."""

    layer: int
    tensor: str  # output or weight
    before: int
    after: int
    kept: str = "its shift within 0 to 31"  # what it was moved for
    channel: int | None = None  # whose it is; None where all channels share it

    def __str__(self) -> str:
        whose = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"layer {self.layer}{whose}: {self.tensor} exponent {self.before} -> {self.after}, "
            f"to keep {self.kept}"
        )


@dataclass(frozen=True)
class Conversion:
    """The integer network, and what conversion did to get it."""

    network: IntegerNetwork
    moves: tuple[Move, ...]
    clipped_weights: int  # float weights that round to a code beyond the largest


def convert(calibrated: Calibrated, name: str, scheme: Scheme) -> Conversion:
    """Convert a calibrated network by a scheme called `name`.

    Raises:
        ValueError: where a bias or an accumulator does not fit int32, naming the layer.
    """
    layers: list[Layer] = []
    moves: list[Move] = []
    codes = calibrated.input.codes
    for index, layer in enumerate(calibrated.layers):
        converted, moved = _convert(index, layer, codes, scheme)
        layers.append(converted)
        moves += moved
        codes = converted.output or codes
    classes, pixels = calibrated.classes, calibrated.input
    network = IntegerNetwork(name, scheme.rounding, classes, pixels, tuple(layers))
    clipped_weights = sum(map(_clipped, layers, calibrated.folded))
    return Conversion(network, tuple(moves), clipped_weights)


def convert_layer(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, scheme: Scheme
) -> Layer:
    """Convert one layer alone, which reads `codes`.

    Raises:
        ValueError: as `convert`.
    """
    converted, _ = _convert(index, layer, codes, scheme)
    check(index, converted)
    return converted


def metrics(conversion: Conversion) -> dict[str, int]:
    """Sum a conversion up: shifts, accumulator bits (sign included), clipped weights, moves."""
    weighted = [layer for layer in conversion.network.layers if layer.has_weights]
    shifts = torch.cat([layer.shift.view(-1) for layer in weighted if layer.output])
    worst = max(int(layer.bound.max()) for layer in weighted)
    return {
        "min_shift": int(shifts.min()),
        "max_shift": int(shifts.max()),
        "accumulator_bits": worst.bit_length() + 1,
        "clipped_weights": conversion.clipped_weights,
        "moved_exponents": len(conversion.moves),
    }


def _convert(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, scheme: Scheme
) -> tuple[Layer, list[Move]]:
    if layer.source.weight is None:
        return _quantize(layer, codes, scheme.bias), []
    layer, moves = _fit_shift(index, layer, codes)
    converted, more = _fit_accumulators(index, layer, codes, scheme.bias)
    assert converted.bias is not None
    steps = int(converted.bias.abs().max())
    if steps >= INT32_LIMIT:
        raise ValueError(
            f"layer {index}: a bias of {steps} steps; it must stay below 2^31: "
            "use a coarser exponent"
        )
    return replace(converted, bias=converted.bias.to(torch.int32)), moves + more


def _fit_shift(
    index: int, layer: CalibratedLayer, codes: ActivationQParams
) -> tuple[CalibratedLayer, list[Move]]:
    """Coarsen e_y until no shift is below 0, then e_w where one is above 31."""
    if layer.output is None:
        return layer, []
    weights = torch.tensor(layer.weight_exponent)
    shifts = layer.output.exponent - codes.exponent - weights  # n = e_y − e_x − e_w
    coarser = max(0, -int(shifts.min()))
    output = replace(layer.output, exponent=layer.output.exponent + coarser)
    exponents = weights + (shifts + coarser - MAX_SHIFT).clamp(min=0)
    fitted = replace(layer, output=output, weight_exponent=as_exponents(exponents.tolist()))
    moves = [
        *_moves(index, "output", layer.output.exponent, output.exponent),
        *_moves(index, "weight", layer.weight_exponent, fitted.weight_exponent),
    ]
    return fitted, moves


def _fit_accumulators(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, bias: str
) -> tuple[Layer, list[Move]]:
    """Quantize, and coarsen e_w of channels whose accumulators would leave int32, step by step.

    Weight decay takes a channel that died to weights of next to nothing, and its bias stays: in
    steps as fine as such weights ask for, the bias alone can need more than 32 bits. The exponent
    of a whole tensor is left alone, for it would cost every channel.
    """
    before = layer.weight_exponent
    while True:
        converted = _quantize(layer, codes, bias)
        beyond = converted.bound >= INT32_LIMIT
        if converted.output is not None:
            beyond &= converted.shift > 0  # a shift of 0 cannot get smaller
        if isinstance(before, int) or not beyond.any():
            kept = "accumulators below 2^31"
            return converted, list(_moves(index, "weight", before, layer.weight_exponent, kept))
        exponents = torch.tensor(layer.weight_exponent) + beyond
        layer = replace(layer, weight_exponent=as_exponents(exponents.tolist()))


def _moves(
    index: int, tensor: str, before: Exponents, after: Exponents, kept: str = Move.kept
) -> Iterator[Move]:
    """Yield a move for each exponent that is another."""
    pairs = torch.tensor([before, after]).view(2, -1).T.tolist()
    for channel, (old, new) in enumerate(pairs):
        if old != new:
            whose = channel if isinstance(before, tuple) else None
            yield Move(index, tensor, old, new, kept, whose)


def _quantize(layer: CalibratedLayer, codes: ActivationQParams, bias: str) -> Layer:
    """Return the layer in integers; its bias is int64 and may be beyond int32."""
    source = layer.source
    plain = Layer(source.kind, stride=source.stride, padding=source.padding, kernel=source.kernel)
    if source.weight is None or source.bias is None:
        return plain
    exponent = by_output(layer.weight_exponent, source.weight)
    steps = scaled(source.bias, torch.tensor(layer.weight_exponent) + codes.exponent)
    rounded = torch.floor(steps) if bias == "floor" else torch.round(steps)
    return replace(
        plain,
        weight=quantize(source.weight, exponent, layer.weight_format.grid).to(torch.int8),
        bias=rounded.clamp(-BIAS_LIMIT, BIAS_LIMIT).to(torch.int64),
        weight_exponent=layer.weight_exponent,
        weight_format=layer.weight_format,
        input=codes,
        output=layer.output,
        relu=source.relu,
    )


def _clipped(layer: Layer, folded: FoldedLayer) -> int:
    """Count float weights beyond the largest code, before any learning."""
    if folded.weight is None:
        return 0
    exponent = by_output(layer.weight_exponent, folded.weight)
    return int(clipped(folded.weight, exponent, layer.weight_format.grid))
