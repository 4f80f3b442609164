"""Conversion: a float network with exponents in, the integer network out.

w̄ = round(w / 2^e_w), clamped        b̄ = round or floor(b / 2^(e_x + e_w))
0 ≤ n = e_y − e_x − e_w ≤ 31          where it is not, e_y is coarsened, then e_w
|a| < 2^31 for any input              where a channel has an e_w of its own, that is coarsened
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from powtwo.conversion.calibrated import Calibrated, CalibratedLayer
from powtwo.conversion.scheme import Scheme
from powtwo.integer.fixedpoint import MAX_SHIFT, by_output, clipped, quantize, scaled
from powtwo.integer.layer import INT32_LIMIT, ActivationQParams, Layer, check
from powtwo.integer.network import IntegerNetwork


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
    clipped_weights: int  # weights beyond the largest code


def convert(calibrated: Calibrated, name: str, scheme: Scheme) -> Conversion:
    """Convert a calibrated network by a scheme called `name`.

    Raises:
        ValueError: where a bias or an accumulator does not fit int32, naming the layer.
    """
    layers: list[Layer] = []
    moves: list[Move] = []
    clipped = 0
    codes = calibrated.input.codes
    for index, layer in enumerate(calibrated.layers):
        fitted, moved = _fit(index, layer, codes, scheme.bias)
        layers.append(_quantize(index, fitted, codes, scheme.bias))
        moves += moved
        clipped += _clipped(fitted)
        codes = fitted.output or codes
    network = IntegerNetwork(
        name, scheme.rounding, calibrated.classes, calibrated.input, tuple(layers)
    )
    return Conversion(network, tuple(moves), clipped)


def convert_layer(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, scheme: Scheme
) -> Layer:
    """Convert one layer alone, which reads `codes`.

    Raises:
        ValueError: as `convert`.
    """
    fitted, _ = _fit(index, layer, codes, scheme.bias)
    converted = _quantize(index, fitted, codes, scheme.bias)
    check(index, converted)
    return converted


def metrics(conversion: Conversion) -> dict[str, int]:
    """Sum a conversion up: shifts, accumulator bits (sign included), clipped weights, moves."""
    computing = [layer for layer in conversion.network.layers if layer.has_weights]
    shifts = torch.cat([layer.shift.view(-1) for layer in computing if layer.output])
    worst = max(int(layer.bound.max()) for layer in computing)
    return {
        "min_shift": int(shifts.min()),
        "max_shift": int(shifts.max()),
        "accumulator_bits": worst.bit_length() + 1,
        "clipped_weights": conversion.clipped_weights,
        "moved_exponents": len(conversion.moves),
    }


def _fit(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, bias: str
) -> tuple[CalibratedLayer, list[Move]]:
    """Coarsen exponents until shifts, then accumulators, have what the hardware has."""
    shifted, moves = _fit_shift(index, layer, codes)
    fitted, more = _fit_accumulators(index, shifted, codes, bias)
    return fitted, moves + more


def _fit_shift(
    index: int, layer: CalibratedLayer, codes: ActivationQParams
) -> tuple[CalibratedLayer, list[Move]]:
    """Coarsen exponents until every shift is 0 … 31."""
    if layer.output is None:
        return layer, []
    moves = []
    weights = torch.tensor(layer.weight_exponent)
    shifts = layer.output.exponent - codes.exponent - weights
    output = layer.output
    if (lacking := -int(shifts.min())) > 0:
        output = replace(output, exponent=output.exponent + lacking)
        moves.append(Move(index, "output", layer.output.exponent, output.exponent))
        shifts = shifts + lacking
    if int((excess := (shifts - MAX_SHIFT).clamp(min=0)).max()) > 0:
        moves += _weight_moves(index, weights, weights + excess, Move.kept)
        weights = weights + excess
    exponent = tuple(weights.tolist()) if weights.dim() else int(weights)
    return replace(layer, output=output, weight_exponent=exponent), moves


def _fit_accumulators(
    index: int, layer: CalibratedLayer, codes: ActivationQParams, bias: str
) -> tuple[CalibratedLayer, list[Move]]:
    """Coarsen the exponents of channels whose accumulators would leave int32, one at a time.

    Weight decay takes a channel that died to weights of next to nothing, and its bias stays: in
    steps as fine as such weights ask for, the bias alone can need more than 32 bits. The exponent
    of a whole tensor is left alone, for it would cost every channel.
    """
    before = torch.tensor(layer.weight_exponent)
    weights = before
    while weights.dim() and bool((beyond := _beyond(_build(layer, codes, bias))).any()):
        weights = weights + beyond
        layer = replace(layer, weight_exponent=tuple(weights.tolist()))
    return layer, _weight_moves(index, before, weights, "accumulators below 2^31")


def _weight_moves(index: int, before: Tensor, after: Tensor, kept: str) -> list[Move]:
    """Return a move for each exponent that is another; one for all channels has no dimension."""
    pairs = zip(before.view(-1).tolist(), after.view(-1).tolist(), strict=True)
    return [
        Move(index, "weight", *pair, kept, channel if before.dim() else None)
        for channel, pair in enumerate(pairs)
        if pair[0] != pair[1]
    ]


def _beyond(layer: Layer) -> Tensor:
    """Say which channels can leave int32 and have a shift that can be smaller, bool (O,)."""
    beyond = layer.bound >= INT32_LIMIT
    return beyond if layer.output is None else beyond & (layer.shift > 0)


def _quantize(index: int, layer: CalibratedLayer, codes: ActivationQParams, bias: str) -> Layer:
    built = _build(layer, codes, bias)
    if built.bias is None:
        return built
    if bool((built.bias.abs() >= INT32_LIMIT).any()):
        raise ValueError(
            f"layer {index}: a bias of {_bias_steps(layer, codes, bias).abs().max().item():.0f} "
            "steps; it must stay below 2^31: use a coarser exponent"
        )
    return replace(built, bias=built.bias.to(torch.int32))


def _build(layer: CalibratedLayer, codes: ActivationQParams, bias: str) -> Layer:
    """Return the layer in integers, its bias int64 and at most 2^31 in size."""
    folded = layer.source
    plain = Layer(folded.kind, stride=folded.stride, padding=folded.padding, kernel=folded.kernel)
    if folded.weight is None or folded.bias is None:
        return plain
    weight = quantize(
        folded.weight, by_output(layer.weight_exponent, folded.weight), layer.weight_format.grid
    )
    return replace(
        plain,
        weight=weight.to(torch.int8),
        bias=_bias_steps(layer, codes, bias).clamp(-INT32_LIMIT, INT32_LIMIT).to(torch.int64),
        weight_exponent=layer.weight_exponent,
        weight_format=layer.weight_format,
        input=codes,
        output=layer.output,
        relu=folded.relu,
    )


def _bias_steps(layer: CalibratedLayer, codes: ActivationQParams, rounding: str) -> Tensor:
    """Return the bias in steps of the accumulator, whole numbers in float64 (O,)."""
    assert layer.source.bias is not None
    exponent = torch.tensor(layer.weight_exponent) + codes.exponent
    steps = scaled(layer.source.bias, exponent)
    return torch.floor(steps) if rounding == "floor" else torch.round(steps)


def _clipped(layer: CalibratedLayer) -> int:
    """Count the float weights that round to a code beyond the largest, before any learning."""
    weight = layer.folded.weight
    if weight is None:
        return 0
    return int(clipped(weight, by_output(layer.weight_exponent, weight), layer.weight_format.grid))
