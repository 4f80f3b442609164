"""The integer network: its input, its layers, its file.

The file, `models/integer/<scheme>.safetensors`, is the contract with everything downstream; its
keys are listed in docs/integer-file.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powtwo.core import tensors as tensor_files
from powtwo.dataset.normalization import Normalization
from powtwo.integer import fixedpoint
from powtwo.integer.layer import (
    ActivationQParams,
    Layer,
    WeightFormat,
    accumulate,
    check,
    pool_or_flatten,
    requantize,
)
from powtwo.integer.rounding import Rounding

FORMAT = 1  # of the file


@dataclass(frozen=True)
class Input:
    """What the network eats: pixels (C, H, W) of eight bits, and how they become codes."""

    shape: tuple[int, int, int]
    codes: ActivationQParams
    normalization: Normalization

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the uint8 codes of uint8 pixels (N, C, H, W); the pixels themselves if dyadic."""
        if self.normalization.kind == "dyadic" and self.codes == ActivationQParams(-7):
            return pixels
        values = self.normalization(pixels, torch.float64)
        return fixedpoint.quantize(values, self.codes.exponent, self.codes.grid).to(torch.uint8)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A network of integers alone, from pixels to logits."""

    scheme: str
    rounding: Rounding
    classes: tuple[str, ...]
    input: Input
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounding", Rounding(self.rounding))  # a file has its name
        for index, layer in enumerate(self.layers):
            check(index, layer)

    def outputs(self, pixels: Tensor) -> Iterator[tuple[Tensor | None, Tensor]]:
        """Run the reference, layer by layer.

        Args:
            pixels: uint8 (N, C, H, W).

        Yields:
            For each layer the int32 accumulators before ReLU (None for pooling and flattening) and
            the output: uint8 codes, or int32 accumulators after ReLU where the layer gives those.
        """
        x = self.input.encode(pixels)
        for layer in self.layers:
            accumulators = accumulate(layer, x) if layer.has_weights else None
            x = (
                pool_or_flatten(layer, x)
                if accumulators is None
                else self.finish(layer, accumulators)
            )
            yield accumulators, x

    def finish(self, layer: Layer, accumulators: Tensor) -> Tensor:
        """Apply ReLU and requantize: int32 accumulators in, uint8 codes or int32 out."""
        if layer.relu:
            accumulators = accumulators.clamp(min=0)
        if layer.output is None:
            return accumulators
        return requantize(accumulators, layer.shift, layer.output, self.rounding)

    def logits(self, pixels: Tensor) -> Tensor:
        """Return int32 logits, or uint8 codes where the scheme asks for them, (N, classes)."""
        return deque(self.outputs(pixels), maxlen=1).pop()[1]  # the others are let go

    def accumulator_bound(self, index: int) -> Tensor:
        """Return a bound on |partial sums| of a computing layer, in any order, int64 (O,).

        `Layer.bound` lets every input be any code. Codes that come out of a ReLU are not below the
        zero point, so that products of positive weights only add and those of negative ones only
        subtract: a sum is never further from 0 than one of the two. The half unit of a rounding
        shift is included. The bound is met where every code that may occur does.
        """
        layer = self.layers[index]
        assert layer.weight is not None
        assert layer.bias is not None
        low, high = self._inputs(index)
        weight, bias = layer.weight.to(torch.int64).flatten(1), layer.bias.to(torch.int64)
        ends = torch.stack([weight * low, weight * high])  # of each product; 0 lies between
        most = ends.amax(0).sum(1) + bias.clamp(min=0)
        least = ends.amin(0).sum(1) + bias.clamp(max=0)
        return torch.maximum(most, -least) + layer.half_unit

    def _inputs(self, index: int) -> tuple[int, int]:
        """Return the least and the largest x − z that a computing layer can read."""
        codes = self.layers[index].input
        assert codes is not None
        low, high = codes.grid.quant_min - codes.zero_point, codes.grid.quant_max - codes.zero_point
        before = next((layer for layer in reversed(self.layers[:index]) if layer.has_weights), None)
        return (0 if before is not None and before.relu else low), high

    def save(self, path: Path | str) -> None:
        """Write the file of the contract."""
        tensors, about = {}, []
        for index, layer in enumerate(self.layers):
            about.append(_describe(layer))
            if layer.weight is None or layer.bias is None:
                continue
            tensors[f"layers.{index}.weight"] = layer.weight
            tensors[f"layers.{index}.bias"] = layer.bias
            if layer.output is not None and layer.shift.dim():
                tensors[f"layers.{index}.shift"] = layer.shift.to(torch.int32)
        metadata = {
            "format": FORMAT,
            "scheme": self.scheme,
            "rounding": self.rounding,
            "classes": self.classes,
            "input": _describe_input(self.input),
            "layers": about,
        }
        tensor_files.write(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path | str) -> IntegerNetwork:
        """Read the file of the contract; nothing is unpickled.

        Raises:
            ValueError: where the file is of another format, or a layer breaks a limit.
        """
        about, tensors = tensor_files.read(path)
        if about.get("format") != FORMAT:
            raise ValueError(
                f"{path}: format = {about.get('format')}: must be {FORMAT}; convert the network "
                "again with this version"
            )
        layers = tuple(_read_layer(i, item, tensors) for i, item in enumerate(about["layers"]))
        given = _read_input(about["input"])
        return cls(about["scheme"], about["rounding"], tuple(about["classes"]), given, layers)


def _describe_input(given: Input) -> dict[str, Any]:
    described = {
        "shape": given.shape,
        "exponent": given.codes.exponent,
        "zero_point": given.codes.zero_point,
        "bits": given.codes.bits,
        "normalize": given.normalization.kind,
    }
    if given.normalization.mean is not None:
        described |= {"mean": given.normalization.mean, "std": given.normalization.std}
    return described


def _read_input(values: dict[str, Any]) -> Input:
    codes = ActivationQParams(values["exponent"], values["zero_point"], values["bits"])
    normalization = Normalization.of_metadata({**values, "kind": values["normalize"]})
    channels, height, width = values["shape"]
    return Input((channels, height, width), codes, normalization)


def _describe(layer: Layer) -> dict[str, Any]:
    """List what the contract says of a layer of this kind."""
    described: dict[str, Any] = {"kind": layer.kind}
    if layer.kind == "maxpool2d":
        described |= {"kernel": layer.kernel, "stride": layer.stride}
    if layer.kind == "conv2d":
        described |= {name: getattr(layer, name) for name in ("kernel", "stride", "padding")}
    if layer.input is None:
        return described
    described |= {
        "relu": layer.relu,
        "weight_bits": layer.weight_bits,
        "weight_exponent": layer.weight_exponent,
        "input_exponent": layer.input.exponent,
        "input_zero_point": layer.input.zero_point,
        "input_bits": layer.input.bits,
        "output": "int32" if layer.output is None else "codes",
    }
    if layer.weight_format.kind != "uniform":
        described |= {
            "weight_kind": layer.weight_format.kind,
            "weight_code_bits": layer.weight_format.bits,
        }
    if layer.output is not None:
        described |= {
            "output_exponent": layer.output.exponent,
            "output_zero_point": layer.output.zero_point,
            "output_bits": layer.output.bits,
            "shift": layer.shift.tolist(),
        }
    return described


def _read_layer(index: int, values: dict[str, Any], tensors: dict[str, Tensor]) -> Layer:
    plain = {name: values.get(name, 0) for name in ("padding", "kernel")}
    plain["stride"] = values.get("stride", 1)
    if values["kind"] not in ("conv2d", "linear"):
        return Layer(values["kind"], **plain)
    exponent = values["weight_exponent"]
    layer = Layer(
        values["kind"],
        tensors[f"layers.{index}.weight"],
        tensors[f"layers.{index}.bias"],
        weight_exponent=tuple(exponent) if isinstance(exponent, list) else exponent,
        weight_format=WeightFormat(
            values.get("weight_code_bits", values["weight_bits"]),
            values.get("weight_kind", "uniform"),
        ),
        input=_read_codes("input", values),
        output=_read_codes("output", values) if values["output"] == "codes" else None,
        relu=values["relu"],
        **plain,
    )
    if layer.output is not None and layer.shift.tolist() != values["shift"]:
        raise ValueError(
            f"layer {index}: shift = {values['shift']}: its exponents give "
            f"{layer.shift.tolist()}; the file is damaged"
        )
    return layer


def _read_codes(side: str, values: dict[str, Any]) -> ActivationQParams:
    return ActivationQParams(
        *(values[f"{side}_{name}"] for name in ("exponent", "zero_point", "bits"))
    )
