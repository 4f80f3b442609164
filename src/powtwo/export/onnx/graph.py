"""What the three ONNX exports share: a graph under construction, its names and its bytes.

Every name comes from a layer's index and a role, so that equal networks give equal bytes and a
tensor can be found by the layer it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from powtwo.core.files import atomic
from powtwo.core.windows import four, pair
from powtwo.export.steps import UnsupportedError
from powtwo.integer import fixedpoint
from powtwo.integer.layer import ActivationQParams, Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

IR_VERSION = 10  # what ONNX Runtime 1.18 and later read
OPSET = 19  # BitwiseAnd is of 18; onnx.reference knows DequantizeLinear from 19 on
SMALLEST_NORMAL = -126  # exponent of the smallest float32 that is not denormal


class Graph:
    """Nodes and constants in order; each method returns the name of the tensor that it adds."""

    def __init__(self, file: str) -> None:
        self.file = file  # the format, as an error calls it
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, values: Any, dtype: npt.DTypeLike) -> str:
        """Add an initializer."""
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node of one output, which bears the node's name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def cast(self, x: str, to: int, name: str) -> str:
        """Add a Cast to an ONNX element type."""
        return self.node("Cast", [x], name, to=to)

    def with_constant(self, kind: str, x: str, values: Any, dtype: npt.DTypeLike, name: str) -> str:
        """Add a node of two inputs, the second a constant."""
        return self.node(kind, [x, self.constant(f"{name}.by", values, dtype)], name)

    def scale(self, name: str, exponent: int | Tensor) -> str:
        """Add the float32 scale 2^e, of shape () or (O,); errors as in `require_normal`."""
        self.require_normal(name, exponent)
        return self.constant(name, fixedpoint.power_of_two(exponent).numpy(), np.float32)

    def require_normal(self, name: str, exponent: int | Tensor) -> None:
        """Refuse a scale 2^e that float32 does not hold as a normal number.

        Raises:
            UnsupportedError: naming the scale.
        """
        lowest = int(torch.as_tensor(exponent).min())
        if lowest < SMALLEST_NORMAL:
            raise UnsupportedError(
                f"{self.file}: {name} = 2^{lowest}: float32 scales end at 2^{SMALLEST_NORMAL}; "
                "choose coarser exponents"
            )

    def look_up(self, rows: npt.NDArray[Any], name: str, through: int | None = None) -> str:
        """Replace uint8 `pixels` (N, C, H, W) by their entries in rows (C, 256), one a channel.

        TensorRT turns bytes into indices `through` floats alone.
        """
        starts = 256 * np.arange(len(rows)).reshape(-1, 1, 1)
        pixels = self.cast("pixels", through, f"{name}.pixels") if through else "pixels"
        index = self.cast(pixels, TensorProto.INT32, f"{name}.byte")
        index = self.with_constant("Add", index, starts, np.int32, f"{name}.index")
        entries = self.constant(f"{name}.table", rows.reshape(-1), rows.dtype)
        return self.node("Gather", [entries, index], name, axis=0)

    def padded_pool(self, layer: Layer, x: str, lowest: float, name: str) -> str:
        """Add a max pooling or a flattening of values of which none is below `lowest`.

        Runtimes disagree on paddings that differ by side: those are nodes of their own.
        """
        top, left, bottom, right = four(layer.padding)
        if layer.kind != "maxpool2d" or len({top, left, bottom, right}) == 1:
            return self.pool_or_flatten(layer, x, name)
        x = self.pad(x, layer, lowest, np.float32, name)
        return self.pool_or_flatten(replace(layer, padding=0), x, name)

    def pad(self, x: str, layer: Layer, value: float, dtype: npt.DTypeLike, name: str) -> str:
        """Add a Pad of (N, C, H, W) by a layer's padding."""
        top, left, bottom, right = four(layer.padding)
        pads = self.constant(f"{name}.pads", [0, 0, top, left, 0, 0, bottom, right], np.int64)
        lowest = self.constant(f"{name}.lowest", value, dtype)
        return self.node("Pad", [x, pads, lowest], f"{name}.pad")

    def pool_or_flatten(self, layer: Layer, x: str, name: str) -> str:
        """Add a max pooling, whose padding is the lowest value, or a flattening.

        Raises:
            UnsupportedError: where the layer is neither.
        """
        if layer.kind == "maxpool2d":
            return self.node("MaxPool", [x], name, **sliding(layer))
        if layer.kind == "flatten":
            return self.node("Flatten", [x], name, axis=1)
        raise UnsupportedError(
            f"{self.file}: {name} is a {layer.kind}: it must be conv2d, linear, add, maxpool2d, "
            "avgpool2d or flatten"
        )

    def model(
        self,
        network: IntegerNetwork,
        source: onnx.ValueInfoProto,
        logits: int,
        rounding: Rounding,
        *,
        metadata: Mapping[str, str] | None = None,
        domains: Sequence[str] = (),
    ) -> onnx.ModelProto:
        """Close the graph; its last tensor becomes the output `logits` (N, classes).

        Args:
            network: what the graph computes.
            source: the input, batch first.
            logits: element type of the output.
            rounding: what the graph itself does.
            metadata: more of it than every file has.
            domains: operator sets beside ONNX's own.
        """
        self.nodes[-1].output[0] = "logits"
        batch = source.type.tensor_type.shape.dim[0]
        shape = [batch.dim_param or batch.dim_value, len(network.classes)]
        sink = helper.make_tensor_value_info("logits", logits, shape)
        graph = helper.make_graph(self.nodes, "powtwo", [source], [sink], self.constants)
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="powtwo"
        )
        described = {
            "classes": json.dumps(network.classes),
            "rounding": rounding,
            "scheme": network.scheme,
            "scheme_rounding": network.rounding,
            **(metadata or {}),
        }
        for key, value in sorted(described.items()):
            model.metadata_props.add(key=key, value=value)
        return model


def grouped(layer: Layer) -> dict[str, Any]:
    """Return the attributes of a convolution: `sliding`, and its groups where it has any."""
    return sliding(layer) | ({"group": layer.groups} if layer.groups > 1 else {})


def pixels_input(network: IntegerNetwork) -> onnx.ValueInfoProto:
    """Return the input `pixels`, uint8 (N, C, H, W)."""
    return helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", *network.input.shape])


def sliding(layer: Layer) -> dict[str, list[int]]:
    """Return the attributes of a window that slides over an image, defaults as well.

    Some readers have no defaults: hls4ml asks a pooling for its padding.
    """
    return {
        "kernel_shape": [*pair(layer.kernel)],
        "strides": [*pair(layer.stride)],
        "pads": [*four(layer.padding)],
    }


def parameters(layer: Layer) -> tuple[Tensor, Tensor]:
    """Return the weights and the biases of a weighted layer."""
    assert layer.weight is not None
    assert layer.bias is not None
    return layer.weight, layer.bias


def write_onnx(model: onnx.ModelProto, path: Path | str) -> None:
    """Write a model whole or not at all, with the same bytes for the same model."""
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def lowest_value(codes: ActivationQParams | None) -> float:
    """Return the value of the lowest code; of accumulators, which no pooling reads, any."""
    if codes is None:
        return 0.0
    return float(fixedpoint.dequantize(torch.tensor(0), codes.exponent, codes.zero_point))
