"""What the file of a calibrated network may say, and whether it fits its tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from powtwo.conversion.scheme import WeightKind
from powtwo.core import strict, tensors
from powtwo.core.strict import Part, require
from powtwo.core.tensors import Arrays, check_array
from powtwo.core.windows import pair
from powtwo.integer import checks, schema
from powtwo.network.spec import WINDOWS

WEIGHTED = ("conv2d", "linear")


class Folded(Part):
    """A float layer, without its tensors; what its kind does not need is as in `FoldedLayer`."""

    kind: Literal["conv2d", "linear", "add", "maxpool2d", "avgpool2d", "flatten"]
    relu: bool
    stride: schema.Sides
    padding: schema.Paddings
    kernel: schema.Sides | Literal[0]
    groups: schema.Size = 1
    inputs: schema.Inputs | None = None
    maximum: Annotated[float, Field(gt=0)] | None = None


class WeightFormat(Part):
    """How a weight is coded."""

    bits: schema.Bits
    kind: WeightKind


class Output(Part):
    """How an output is coded."""

    exponent: schema.Exponent
    zero_point: schema.ZeroPoint
    bits: schema.Bits


class Layer(Part):
    """A float layer with its exponents."""

    folded: Folded
    weight_exponent: schema.Exponents
    weight_format: WeightFormat
    output: Output | None


class Calibrated(Part):
    """The whole of it."""

    classes: schema.Classes
    input: schema.Input
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000, fail_fast=True)]
    sha256: schema.Sha256 | None = None


def validated(values: dict[str, Any], arrays: Arrays) -> Calibrated:
    """Return what a file says as a typed value, which fits its tensors.

    Raises:
        ValueError: naming the layer, the key, its value and the rule.
    """
    network = strict.validate(Calibrated, values)
    checks.check_names(network.layers, arrays, _parts, _adapted)
    checks.check_input(network.input)
    weights = [arrays.get(f"layers.{index}.weight") for index in range(len(network.layers))]
    folded = [layer.folded for layer in network.layers]
    checks.check_shapes(network.input, folded, weights, network.classes)
    for index, layer in enumerate(network.layers):
        _check_layer(f"layers.{index}.", f"layer {index}: ", layer, arrays)
    tensors.check_digest(values, arrays)
    return network


def _check_layer(prefix: str, where: str, layer: Layer, arrays: Arrays) -> None:
    if layer.output is not None:
        codes = schema.Codes(layer.output.exponent, layer.output.zero_point, layer.output.bits)
        checks.check_zero_point(f"{where}output ", codes)
    kind, bits = layer.weight_format.kind, layer.weight_format.bits
    fits, rule = kind == "uniform" or bits <= 4, f"must be at most 4, as kind is {kind}"
    if kind == "power_of_two_nonzero":
        fits, rule = 3 <= bits <= 4, f"must be 3 or 4, as kind is {kind}"
    require(fits, f"{where}weight_format bits", bits, rule)
    folded = layer.folded
    if folded.kind in WINDOWS:
        require(folded.kernel != 0, f"{where}folded kernel", 0, "must be at least 1")
    if folded.maximum is not None:
        require(
            folded.relu, f"{where}folded maximum", folded.maximum, "must be absent without relu"
        )
    if folded.kind not in WEIGHTED:
        return
    weight = arrays[f"{prefix}weight"]
    if folded.kind == "conv2d":
        rule = f"must be {weight.shape[2:]}, the sides of the weight"
        require(
            weight.shape[2:] == pair(folded.kernel), f"{where}folded kernel", folded.kernel, rule
        )
        rule = f"must divide the {len(weight)} output channels"
        require(len(weight) % folded.groups == 0, f"{where}folded groups", folded.groups, rule)
    if isinstance(layer.weight_exponent, list):
        rule = f"must be {len(weight)}, one for each output channel"
        count = len(layer.weight_exponent)
        require(count == len(weight), f"{where}weight_exponent: length", count, rule)
    for name, shape in (("weight", weight.shape), ("bias", weight.shape[:1])):
        for part in (name, f"adapted_{name}"):
            if f"{prefix}{part}" in arrays:
                check_array(f"{where}{part}", arrays[f"{prefix}{part}"], "float64", shape)


def _parts(layer: Layer) -> Iterator[str]:
    return iter(("weight", "bias") if layer.folded.kind in WEIGHTED else ())


def _adapted(layer: Layer) -> Iterator[str]:
    return (f"adapted_{part}" for part in _parts(layer))
