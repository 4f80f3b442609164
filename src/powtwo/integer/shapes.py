"""Shapes and MACs of each layer of an integer network, without its weights and without PyTorch.

The list comes from the metadata and the tensor shapes of `models/integer/<scheme>.safetensors`, or
from a layout. Layers that add up are on it: convolutions, linear layers, additions and averages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from powtwo.core import graph
from powtwo.core.windows import pair
from powtwo.integer import metadata
from powtwo.integer.geometry import Shape, output_shape


class _Reads(NamedTuple):
    """What a layer reads."""

    kind: str
    inputs: Sequence[int] | None


@dataclass(frozen=True)
class LayerShape:
    """A layer that adds up: shapes for one image, and the codes on either side.

    An addition or an average has no weights, and of an addition what is said of the input is said
    of both: `input_bits` and `input_zero_point` are the larger ones.
    """

    index: int  # in the network, pooling and flattening counted
    kind: str  # conv2d, linear, add, avgpool2d
    input_shape: Shape  # of its input: (C, H, W) or (I,)
    output_shape: Shape  # of its output: (O, H', W') or (O,)
    fan_in: int  # inputs of one output, such as K = I·kH·kW; padded positions are among them
    weight_bits: int
    input_bits: int
    input_zero_point: int
    output_bits: int | None  # None: the output is the int32 accumulators
    output_zero_point: int | None
    weight_kind: str = "uniform"  # power_of_two…: a weight shifts, it does not multiply
    weight_code_bits: int = 8  # that a weight is stored in; fewer than weight_bits for 0 and ±2^k
    stored: Shape | None = None  # the output after the poolings that follow, if any
    accumulator_bits: int = 32  # of the sums of products, or, with tiles, of each tile's sum
    spills: int = 0  # see `spilled`; 0 where no sum is split into tiles
    aligned: bool = False  # one input of an addition is shifted to the left, to be added
    shifts: int = 0  # stored, one a channel; 0 where all channels share one, or none is needed

    @property
    def spilled(self) -> int:
        """INT32 additions of tile sums for one image.

        `spills` counts them for one position of the output, over all of its channels: a channel
        with T tiles has b + t₁ + … + t_T, T additions in INT32, that of the bias included, and its
        K products are added in `accumulator_bits`, each to a sum that starts at 0. Without tiles
        the bias and all products are added in `accumulator_bits`.
        """
        return self.spills * prod(self.output_shape[1:])

    @property
    def written(self) -> int:
        """Output elements that are written for one image: poolings that follow come before."""
        return prod(self.stored or self.output_shape)

    @property
    def inputs(self) -> int:
        """Input elements of one image; padding is none, since it is stored nowhere."""
        return prod(self.input_shape) * (2 if self.kind == "add" else 1)

    @property
    def outputs(self) -> int:
        """Output elements of one image."""
        return prod(self.output_shape)

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.fan_in * self.biases

    @property
    def has_weights(self) -> bool:
        """Tell whether the layer multiplies."""
        return self.kind in ("conv2d", "linear")

    @property
    def biases(self) -> int:
        """Elements of the bias, int32 or FP32: one for each output channel."""
        return self.output_shape[0] if self.has_weights else 0

    @property
    def macs(self) -> int:
        """Multiplications for one image, one for each input of each output."""
        return self.fan_in * self.outputs if self.has_weights else 0


def read(path: Path | str) -> list[LayerShape]:
    """List the layers of an integer network's file that add up.

    Raises:
        ValueError: where the file is no integer network, or its layers do not fit each other.
        FileNotFoundError: where there is no such file.
    """
    network, arrays = metadata.read(path)
    layers = [layer.model_dump(exclude_none=True) for layer in network.layers]
    names = [f"layers.{index}.weight" for index in range(len(layers))]
    weights = [arrays[name].shape if name in arrays else None for name in names]
    return of_metadata(network.input.shape, layers, weights)


def of_metadata(
    image: Sequence[int], layers: Sequence[Mapping[str, Any]], weights: Sequence[Shape | None]
) -> list[LayerShape]:
    """List the layers that add up, of metadata.

    Args:
        image: (C, H, W) of the network's input.
        layers: the metadata of each layer, in order, as in the file.
        weights: (O, I, kH, kW) or (O, I) for a weighted layer, None for another.

    Raises:
        ValueError: where a layer does not fit the output of the one before.
    """
    shapes: dict[int, Shape] = {graph.IMAGE: tuple(image)}
    reads = graph.sources([_Reads(layer["kind"], layer.get("inputs")) for layer in layers])
    readers = graph.readers(reads)
    listed: dict[int, LayerShape] = {}
    for index, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        inputs = [shapes[source] for source in reads[index]]
        shapes[index] = shape = output_shape(index, layer, weight, *inputs)
        if "relu" in layer:
            listed[index] = _layer_shape(index, layer, weight, inputs[0], shape)
        elif (writer := _writer(layers, reads, readers, index)) in listed:
            listed[writer] = replace(listed[writer], stored=shape)
    return list(listed.values())


def _writer(
    layers: Sequence[Mapping[str, Any]],
    reads: Sequence[graph.Sources],
    readers: Mapping[int, Sequence[int]],
    index: int,
) -> int:
    """Return the layer that writes what poolings after it give, if they alone read it; or -1."""
    while index != graph.IMAGE and layers[index]["kind"] in ("maxpool2d", "flatten"):
        (before,) = reads[index]
        index = before if readers[before] == [index] else graph.IMAGE
    return index


def of_layout(
    layout: Sequence[int | str],
    hidden: Sequence[int],
    classes: int,
    image: Shape = (3, 32, 32),
    *,
    logits: str = "codes",
    bits: int = 8,
    zero_point: int | None = None,
    weights: Mapping[str, Any] | None = None,
) -> list[LayerShape]:
    """List the weighted layers of a VGG, as the lab quantizes it.

    Args:
        layout: channels of each 3×3 convolution, or "M" for a 2×2 pooling.
        hidden: outputs of the linear layers before the last.
        classes: outputs of the last layer.
        image: shape (C, H, W) of an image.
        logits: `codes`, or `int32` for accumulators that are not requantized.
        bits: of weights and codes.
        zero_point: of the codes; None: 2^(bits−1).
        weights: the file's keys about weights where they differ, such as `weight_bits`.
    """
    middle = 1 << (bits - 1) if zero_point is None else zero_point
    codes = {"relu": True, "weight_bits": bits, "input_bits": bits, "input_zero_point": middle,
             "output": "codes", "output_bits": bits, "output_zero_point": middle}  # fmt: skip
    codes |= weights or {}
    layers: list[dict[str, Any]] = []
    kernels: list[Shape | None] = []
    channels, *sides = image
    for entry in layout:
        if isinstance(entry, str):
            layers.append({"kind": "maxpool2d", "kernel": 2, "stride": 2})
            kernels.append(None)
            sides = [side // 2 for side in sides]
        else:
            layers.append({"kind": "conv2d", "kernel": 3, "stride": 1, "padding": 1} | codes)
            kernels.append((entry, channels, 3, 3))
            channels = entry
    features = (channels * prod(sides), *hidden, classes)
    layers += [{"kind": "flatten"}, *({"kind": "linear"} | codes for _ in features[1:])]
    kernels += [None, *((outputs, inputs) for inputs, outputs in pairwise(features))]
    layers[-1] = layers[-1] | {"output": logits}
    return of_metadata(image, layers, kernels)


def _layer_shape(
    index: int,
    layer: Mapping[str, Any],
    weight: Shape | None,
    input_shape: Shape,
    output_shape: Shape,
) -> LayerShape:
    coded = layer["output"] == "codes"
    return LayerShape(
        index,
        layer["kind"],
        input_shape,
        output_shape,
        fan_in=_fan_in(layer) if weight is None else prod(weight[1:]),
        weight_bits=layer.get("weight_bits", 0),
        input_bits=_largest(layer.get("input_bits", 8)),
        input_zero_point=_largest(layer["input_zero_point"]),
        output_bits=layer["output_bits"] if coded else None,
        output_zero_point=layer["output_zero_point"] if coded else None,
        weight_kind=layer.get("weight_kind", "uniform"),
        weight_code_bits=layer.get("weight_code_bits", layer.get("weight_bits", 0)),
        shifts=output_shape[0] if isinstance(layer.get("shift"), list) else 0,
        accumulator_bits=layer.get("accumulator_bits", 32),
        spills=layer.get("spills", 0),
        aligned=layer["kind"] == "add" and len(set(layer["input_exponent"])) > 1,
    )


def _fan_in(layer: Mapping[str, Any]) -> int:
    return 2 if layer["kind"] == "add" else prod(pair(layer["kernel"]))


def _largest(value: int | list[int]) -> int:
    return max(value) if isinstance(value, list) else value
