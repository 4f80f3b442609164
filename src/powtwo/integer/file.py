"""The file of an integer network: weights as tensors, all else as JSON.

`models/integer/<scheme>.safetensors` is the contract with everything downstream; its keys are
listed in docs/integer-file.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from powtwo.core import tensors as tensor_files
from powtwo.integer import metadata
from powtwo.integer.layer import ActivationQParams, Layer, WeightFormat, as_exponents

GEOMETRY = {"conv2d": ("kernel", "stride", "padding"), "maxpool2d": ("kernel", "stride")}


def write(path: Path | str, network: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    """Write layers, and what the metadata says of the network as a whole."""
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(layers):
        if layer.weight is None or layer.bias is None:
            continue
        tensors[f"layers.{index}.weight"] = layer.weight
        tensors[f"layers.{index}.bias"] = layer.bias
        if layer.output is not None and layer.shift.dim():
            tensors[f"layers.{index}.shift"] = layer.shift.int()
    described = [_describe(layer) for layer in layers]
    tensor_files.write(path, tensors, {"format": metadata.FORMAT, **network, "layers": described})


def read(path: Path | str) -> tuple[dict[str, Any], tuple[Layer, ...]]:
    """Return the metadata and the layers of a file; nothing is unpickled.

    Raises:
        ValueError: where the file is no integer network, of another format, or damaged.
        FileNotFoundError: where there is no such file.
    """
    network, _ = metadata.read(path)
    tensors = load_file(path)
    layers = [_layer(index, values, tensors) for index, values in enumerate(network["layers"])]
    return network, tuple(layers)


def _describe(layer: Layer) -> dict[str, Any]:
    """List what the contract says of a layer of this kind."""
    values = {name: getattr(layer, name) for name in ("kind", *GEOMETRY.get(layer.kind, ()))}
    if layer.input is None:
        return values
    values |= {
        "relu": layer.relu,
        "weight_bits": layer.weight_bits,
        "weight_exponent": layer.weight_exponent,
        "output": "int32" if layer.output is None else "codes",
    }
    values |= _prefixed("input", layer.input)
    if layer.weight_format.kind != "uniform":
        values["weight_kind"] = layer.weight_format.kind
        values["weight_code_bits"] = layer.weight_format.bits
    if layer.output is not None:
        values |= _prefixed("output", layer.output) | {"shift": layer.shift.tolist()}
    return values


def _prefixed(side: str, codes: ActivationQParams) -> dict[str, int]:
    return {f"{side}_{name}": value for name, value in asdict(codes).items()}


def _layer(index: int, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Layer:
    kind = values["kind"]
    geometry = {name: values[name] for name in GEOMETRY.get(kind, ())}
    if kind not in ("conv2d", "linear"):
        return Layer(kind, **geometry)
    code_bits = values.get("weight_code_bits", values["weight_bits"])
    layer = Layer(
        kind,
        tensors[f"layers.{index}.weight"],
        tensors[f"layers.{index}.bias"],
        weight_exponent=as_exponents(values["weight_exponent"]),
        weight_format=WeightFormat(code_bits, values.get("weight_kind", "uniform")),
        input=_codes("input", values),
        output=_codes("output", values) if values["output"] == "codes" else None,
        relu=values["relu"],
        **geometry,
    )
    if layer.output is not None and layer.shift.tolist() != values["shift"]:
        raise ValueError(
            f"layer {index}: shift = {values['shift']}: its exponents give "
            f"{layer.shift.tolist()}; the file is damaged"
        )
    return layer


def _codes(side: str, values: Mapping[str, Any]) -> ActivationQParams:
    return ActivationQParams(
        *(values[f"{side}_{name}"] for name in ("exponent", "zero_point", "bits"))
    )
