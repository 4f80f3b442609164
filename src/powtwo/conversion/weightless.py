"""Additions and averages in integers: their output's exponent, and whether their inputs fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.conversion.moves import SHIFT, Move
from powtwo.integer.fixedpoint import MAX_SHIFT, power_of_two
from powtwo.integer.layer import INT32_LIMIT, ActivationQParams, Layer
from powtwo.network.folded import FoldedLayer


def plain_layer(source: FoldedLayer) -> Layer:
    """Return what a layer is, without weights and codes."""
    geometry = {name: getattr(source, name) for name in ("stride", "padding", "kernel", "groups")}
    return Layer(source.kind, inputs=source.inputs, **geometry)


def largest_code(source: FoldedLayer, output: ActivationQParams | None) -> int | None:
    """Return the code nearest to where a ReLU6 cuts; None where that cuts no code."""
    if source.maximum is None or output is None:
        return None
    code = round(source.maximum * float(power_of_two(-output.exponent))) + output.zero_point
    return code if code < output.grid.quant_max else None


def convert_weightless(
    index: int, layer: CalibratedLayer, inputs: Sequence[ActivationQParams]
) -> tuple[Layer, list[Move]]:
    """Convert a layer without weights that reads these codes; e_y is coarsened until n is 0."""
    source, plain = layer.source, plain_layer(layer.source)
    if not source.accumulates:
        return plain, []
    second = inputs[1] if len(inputs) > 1 else None
    converted = replace(plain, input=inputs[0], second=second, relu=source.relu)
    if layer.output is None:
        return converted, []
    lowest, wanted = int(converted.accumulator_exponent), layer.output.exponent
    output = replace(layer.output, exponent=max(lowest, wanted))
    moves = [] if wanted >= lowest else [Move(index, "output", wanted, lowest, SHIFT)]
    return replace(converted, output=output, maximum=largest_code(source, output)), moves


def too_fine(layer: Layer) -> int:
    """Return by how much the finest input of an addition must be coarsened for it to be added."""
    if layer.kind != "add":
        return 0
    excess = int(layer.bound).bit_length() - INT32_LIMIT.bit_length() + 1
    shifted = 0 if layer.output is None else int(layer.shift) - MAX_SHIFT
    return max(0, excess, shifted)
