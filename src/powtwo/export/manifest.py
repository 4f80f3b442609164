"""`manifest.json`: what a network is, layer by layer, and the sha256 of every file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from powtwo.core import graph
from powtwo.core.windows import shortest
from powtwo.export import packing
from powtwo.export.steps import Step
from powtwo.integer.layer import INT32_BITS, ActivationQParams
from powtwo.integer.network import Input, IntegerNetwork

FILE = "manifest.json"
FORMAT = 1
LEFT_OUT = "left_out"  # formats that cannot express the network, each with its reason; if any
SEAL = "sha256"  # of all the rest: by it an export knows its own manifest, and that none edited it


def describe(network: IntegerNetwork, steps: Sequence[Step]) -> dict[str, Any]:
    """Return what the manifest says of the network and its `steps_of`, files aside."""
    return {
        "arithmetic": {
            "accumulator": "a = bias + sum((x - input_zero_point) * weight), int32; a padded "
            "position holds x = input_zero_point",
            "output": "clamp(shift(relu(a), n) + output_zero_point, 0, 2^output_bits - 1)",
            **_further(network),
            "shift": network.rounding.formula,
        },
        "classes": network.classes,
        "format": FORMAT,
        "input": _input(network.input),
        "layers": [_layer(step) for step in steps],
        "packing": packing.describe(steps),
        "rounding": network.rounding,
        "scheme": network.scheme,
    }


def _further(network: IntegerNetwork) -> dict[str, str]:
    """Return the rules of what is not in every network."""
    rules = {
        "add": "a = sum of (x - input_zero_point) * gain of both inputs",
        "avgpool2d": "a = sum of x - input_zero_point over the window; padded positions are 0",
    }
    kinds = {layer.kind for layer in network.layers}
    found = {kind: rule for kind, rule in rules.items() if kind in kinds}
    if any(layer.maximum is not None for layer in network.layers):
        found["maximum"] = "takes the place of 2^output_bits - 1, where a layer has one"
    return found


def hashes(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the size and the sha256 of each file."""
    return {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }


def to_bytes(values: Mapping[str, Any]) -> bytes:
    """Return the file; floats stand in full, so that a mean is the mean that was used."""
    return (_text(values, "") + "\n").encode()


def sealed(values: Mapping[str, Any]) -> bytes:
    """Return the file with its own digest."""
    return to_bytes({**values, SEAL: hashlib.sha256(to_bytes(values)).hexdigest()})


def files_if_sealed(data: bytes) -> dict[str, str] | None:
    """Return the sha256 of each file that a manifest lists, its own included.

    None where an export did not write these very bytes.
    """
    try:
        values = json.loads(data)
        rest = {key: value for key, value in values.items() if key != SEAL}
        if sealed(rest) != data:
            return None
        listed = {name: entry["sha256"] for name, entry in values["files"].items()}
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return None
    return {**listed, FILE: hashlib.sha256(data).hexdigest()}


def load(folder: Path | str) -> dict[str, Any]:
    """Read the manifest of an export.

    Raises:
        ValueError: where the folder holds no manifest of this format.
    """
    path = Path(folder) / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # without the path
        raise ValueError(f"{path}: no manifest ({reason}); export again") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"{path}: format must be {FORMAT}; export again with this version")
    return values


def left_out(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the formats that a manifest says cannot express the network, each with its reason."""
    return dict(values.get(LEFT_OUT, {}))


def _text(value: Any, indent: str) -> str:
    """Return JSON with sorted keys, where a list of plain values is one line: a shape, shifts."""
    inner = indent + "  "
    if isinstance(value, Mapping):
        items = [f"{json.dumps(key)}: {_text(value[key], inner)}" for key in sorted(value)]
        brackets = "{}"
    elif isinstance(value, (list, tuple)) and any(isinstance(v, (list, Mapping)) for v in value):
        items, brackets = [_text(item, inner) for item in value], "[]"
    else:
        return json.dumps(value)
    lines = f",\n{inner}".join(items)
    return f"{brackets[0]}\n{inner}{lines}\n{indent}{brackets[1]}"


def _input(source: Input) -> dict[str, Any]:
    """Say how a pixel, red to blue and 0 to 255, becomes a code."""
    table, normalization = source.table(), source.normalization
    described: dict[str, Any] = {
        "bits": source.codes.bits,
        "code": "the pixel itself" if table is None else "table[channel][pixel]",
        "exponent": source.codes.exponent,
        "normalize": normalization.kind,
        "order": "CHW: channel, row, column",
        "shape": source.shape,
        "zero_point": source.codes.zero_point,
    }
    if normalization.mean is not None:
        described |= {"mean": normalization.mean, "std": normalization.std}
    return described | ({} if table is None else {"table": table.tolist()})


def _layer(step: Step) -> dict[str, Any]:
    layer = step.layer
    described: dict[str, Any] = {
        "index": step.index,
        "input_shape": step.input_shape,
        "kind": layer.kind,
        "output_shape": step.output_shape,
    }
    if layer.kind in ("conv2d", "maxpool2d", "avgpool2d"):
        sides = {"kernel": layer.kernel, "stride": layer.stride, "padding": layer.padding}
        described |= {name: shortest(value) for name, value in sides.items()}
    if layer.groups != 1:
        described["groups"] = layer.groups
    if (inputs := graph.canonical(step.index, layer.inputs)) is not None:
        described["inputs"] = inputs
    return described | (_sums(step) if layer.accumulates else {})


def _sums(step: Step) -> dict[str, Any]:
    """Describe a layer that adds up: its input, its weights, its output."""
    layer = step.layer
    described: dict[str, Any] = {
        "output": "int32" if layer.output is None else "codes",
        "relu": layer.relu,
    }
    if layer.maximum is not None:
        described["maximum"] = layer.maximum
    described |= _codes("input", *layer.reads) | (_weighted(step) if layer.has_weights else {})
    if not layer.has_weights:
        described |= {"accumulator_exponent": int(layer.accumulator_exponent), "gains": layer.gains}
    if layer.output is None:
        return described
    described["shift"] = step.shifts if len(step.shifts) > 1 else step.shifts[0]
    return described | _codes("output", layer.output)


def _weighted(step: Step) -> dict[str, Any]:
    layer, weights = step.layer, step.layer.weight_format
    described: dict[str, Any] = {
        "macs": step.macs,
        "weight_bits": weights.width,
        "weight_exponent": layer.weight_exponent,
        "weight_order": "OIHW" if layer.kind == "conv2d" else "OI",
        "weight_shape": step.weight.shape,
    }
    if layout := packing.packing(step):
        described["packing"] = layout.describe()
    if weights.kind != "uniform":  # the bits of a sign and an exponent, as C has them
        described |= {"weight_kind": weights.kind, "weight_code_bits": weights.bits}
    return described | _accumulators(step)


def _accumulators(step: Step) -> dict[str, Any]:
    """Say how wide sums are, and how many tiles there are, where int32 is not needed throughout."""
    if step.accumulator_bits == INT32_BITS:
        return {}
    described = {"accumulator_bits": step.accumulator_bits}
    return described if step.tile_ends is None else described | {"spills": step.spills}


def _codes(side: str, *codes: ActivationQParams) -> dict[str, Any]:
    """Say how one tensor is coded, or, in lists, how several are."""
    keys = ("bits", "exponent", "zero_point")
    values = {f"{side}_{key}": [getattr(each, key) for each in codes] for key in keys}
    return {key: value if len(codes) > 1 else value[0] for key, value in values.items()}
