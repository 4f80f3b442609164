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

from powtwo.core import graph
from powtwo.core import tensors as tensor_files
from powtwo.core.tensors import Arrays
from powtwo.core.windows import shortest
from powtwo.integer import metadata, schema, tiles
from powtwo.integer.checks import TILE_ENDS
from powtwo.integer.layer import (
    INT32_BITS,
    ActivationQParams,
    Layer,
    WeightFormat,
    as_exponents,
)

GEOMETRY = {
    "conv2d": ("kernel", "stride", "padding"),
    "maxpool2d": ("kernel", "stride"),
    "avgpool2d": ("kernel", "stride", "padding"),
}
OPTIONAL = {"conv2d": {"groups": 1}, "maxpool2d": {"padding": 0}}  # in a file where they differ


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
    described = [_describe(index, layer) for index, layer in enumerate(layers)]
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


def _describe(index: int, layer: Layer) -> dict[str, Any]:
    """List what the contract says of a layer of this kind."""
    values: dict[str, Any] = {"kind": layer.kind}
    for name in GEOMETRY.get(layer.kind, ()):
        values[name] = shortest(getattr(layer, name))
    for name, default in OPTIONAL.get(layer.kind, {}).items():
        if (value := shortest(getattr(layer, name))) != default:
            values[name] = value
    if (inputs := graph.canonical(index, layer.inputs)) is not None:
        values["inputs"] = inputs
    if layer.input is None:
        return values
    values |= {"relu": layer.relu, "output": "int32" if layer.output is None else "codes"}
    values |= _prefixed("input", *layer.reads)
    if layer.maximum is not None:
        values["maximum"] = layer.maximum
    if layer.has_weights:
        values |= {"weight_bits": layer.weight_bits, "weight_exponent": layer.weight_exponent}
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


def _prefixed(side: str, *codes: ActivationQParams) -> dict[str, Any]:
    """Say how one tensor is coded, or, in lists, how several are."""
    if len(codes) == 1:
        return {f"{side}_{name}": value for name, value in asdict(codes[0]).items()}
    names = asdict(codes[0])
    return {f"{side}_{name}": [getattr(each, name) for each in codes] for name in names}


def _layer(index: int, described: schema.Layer, arrays: Arrays) -> Layer:
    names = (*GEOMETRY.get(described.kind, ()), *OPTIONAL.get(described.kind, {}))
    plain: dict[str, Any] = {name: getattr(described, name) for name in names}
    plain["inputs"] = None if described.inputs is None else tuple(described.inputs)
    if not isinstance(described, schema.Accumulating):
        return Layer(described.kind, **plain)
    codes = [ActivationQParams(*each) for each in described.reads]
    plain |= {
        "input": codes[0],
        "second": codes[1] if len(codes) > 1 else None,
        "output": ActivationQParams(*described.gives) if described.gives else None,
        "relu": described.relu,
        "maximum": described.maximum,
    }
    if not isinstance(described, schema.Weighted):
        return Layer(described.kind, **plain)
    return Layer(
        described.kind,
        _tensor(arrays, index, "weight"),
        _tensor(arrays, index, "bias"),
        weight_exponent=as_exponents(described.weight_exponent),
        weight_format=WeightFormat(
            described.weight_code_bits or described.weight_bits, described.weight_kind or "uniform"
        ),
        accumulator_bits=described.accumulator_bits or INT32_BITS,
        tile_ends=None if described.spills is None else _tensor(arrays, index, TILE_ENDS),
        **plain,
    )


def _tensor(arrays: Arrays, index: int, name: str) -> Tensor:
    return torch.from_numpy(arrays[f"layers.{index}.{name}"])
