"""The file of an integer network: weights as tensors, all else as JSON.

`models/integer/<scheme>.safetensors` is the contract with everything downstream; its keys are
listed in docs/integer-file.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from powtwo.core import tensors as tensor_files
from powtwo.core.tensors import Arrays
from powtwo.integer import metadata, schema, tiles
from powtwo.integer.checks import TILE_ENDS
from powtwo.integer.layer import (
    INT32_BITS,
    ActivationQParams,
    Layer,
    WeightFormat,
    as_exponents,
)

GEOMETRY = {"conv2d": ("kernel", "stride", "padding"), "maxpool2d": ("kernel", "stride")}


def write(path: Path | str, network: Mapping[str, Any], layers: Sequence[Layer]) -> None:
    """Write layers, and what the metadata says of the network as a whole.

    Raises:
        ValueError: where `read` would refuse the file, and before any of it is written.
    """
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(layers):
        if layer.weight is None or layer.bias is None:
            continue
        tensors[f"layers.{index}.weight"] = layer.weight
        tensors[f"layers.{index}.bias"] = layer.bias
        if layer.output is not None and layer.shift.dim():
            tensors[f"layers.{index}.shift"] = layer.shift.int()
        if layer.tile_ends is not None:
            tensors[f"layers.{index}.{TILE_ENDS}"] = layer.tile_ends
    described = [_describe(layer) for layer in layers]
    values = {"format": metadata.FORMAT, **network, "layers": described}
    arrays = tensor_files.to_arrays(tensors)
    metadata.validated(tensor_files.as_json(values), arrays)
    tensor_files.write(path, arrays, values)


def read(path: Path | str) -> tuple[schema.Network, tuple[Layer, ...]]:
    """Return the metadata and the layers of a file; nothing is unpickled, and nothing believed.

    Raises:
        ValueError: where the file is no integer network, of another format, or breaks a rule.
        FileNotFoundError: where there is no such file.
    """
    network, arrays = metadata.read(path)
    layers = [_layer(index, layer, arrays) for index, layer in enumerate(network.layers)]
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
    if layer.accumulator_bits < INT32_BITS:
        values["accumulator_bits"] = layer.accumulator_bits
    if layer.tile_ends is not None:
        values["spills"] = tiles.spills(layer.tile_ends.numpy())
    if layer.output is not None:
        values |= _prefixed("output", layer.output) | {"shift": layer.shift.tolist()}
    return values


def _prefixed(side: str, codes: ActivationQParams) -> dict[str, int]:
    return {f"{side}_{name}": value for name, value in asdict(codes).items()}


def _layer(index: int, described: schema.Layer, arrays: Arrays) -> Layer:
    geometry = {name: getattr(described, name) for name in GEOMETRY.get(described.kind, ())}
    if not isinstance(described, schema.Weighted):
        return Layer(described.kind, **geometry)
    return Layer(
        described.kind,
        _tensor(arrays, index, "weight"),
        _tensor(arrays, index, "bias"),
        weight_exponent=as_exponents(described.weight_exponent),
        weight_format=WeightFormat(
            described.weight_code_bits or described.weight_bits, described.weight_kind or "uniform"
        ),
        input=ActivationQParams(*described.reads),
        output=ActivationQParams(*described.gives) if described.gives else None,
        relu=described.relu,
        accumulator_bits=described.accumulator_bits or INT32_BITS,
        tile_ends=None if described.spills is None else _tensor(arrays, index, TILE_ENDS),
        **geometry,
    )


def _tensor(arrays: Arrays, index: int, name: str) -> Tensor:
    return torch.from_numpy(arrays[f"layers.{index}.{name}"])
