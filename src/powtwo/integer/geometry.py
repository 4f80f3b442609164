"""What shape a layer makes of its input's, without its weights and without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from powtwo.core.windows import Sides, fits, four, pair

Shape = tuple[int, ...]  # (C, H, W) or (features,)
# Of what a kind reads; flatten and add read any.
DIMENSIONS = {"conv2d": 3, "maxpool2d": 3, "avgpool2d": 3, "linear": 1}


def output_shape(
    index: int, layer: Mapping[str, Any], weight: Shape | None, *input_shapes: Shape
) -> Shape:
    """Return the shape of a layer's output; sizes as torch.nn.Conv2d's.

    Raises:
        ValueError: where the layer does not fit its input, or its inputs each other.
    """
    kind, input_shape = layer["kind"], input_shapes[0]
    if kind == "flatten":
        return (prod(input_shape),)
    if kind == "add":
        if len(set(input_shapes)) > 1:
            shapes = " and ".join(map(str, input_shapes))
            raise ValueError(f"layer {index}: inputs of {shapes}: an addition needs equal shapes")
        return input_shape
    channels, *sides = input_shape
    if kind not in DIMENSIONS:
        raise ValueError(f"layer {index}: kind = {kind!r}: unknown")
    if len(input_shape) != DIMENSIONS[kind]:
        raise ValueError(f"layer {index}: kind = {kind!r}: does not fit an input of {input_shape}")
    if kind in ("maxpool2d", "avgpool2d"):
        return channels, *_slide(index, sides, layer["kernel"], layer)
    if weight is None:
        raise ValueError(f"layer {index}: weight: missing")
    groups = int(layer.get("groups", 1))
    if len(weight) != len(input_shape) + 1 or weight[1] * groups != channels:
        grouped = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"layer {index}: weight {weight}{grouped} does not fit an input of {input_shape}"
        )
    if not sides:
        return (weight[0],)
    return weight[0], *_slide(index, sides, weight[2:], layer)


def _slide(index: int, sides: Sequence[int], kernel: Sides, layer: Mapping[str, Any]) -> Shape:
    """Return how often a kernel fits on each side."""
    top, left, bottom, right = four(layer.get("padding", 0))
    paddings, strides = ((top, bottom), (left, right)), pair(layer.get("stride", 1))
    windows = zip(sides, pair(kernel), strides, paddings, strict=True)
    counts = tuple(fits(size, side, stride, *each) for size, side, stride, each in windows)
    if min(counts) < 1:
        shown = layer["kernel"]
        raise ValueError(f"layer {index}: kernel = {shown}: larger than its input")
    return counts
