"""What shape a layer makes of its input's, without its weights and without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

Shape = tuple[int, ...]  # (C, H, W) or (features,)
DIMENSIONS = {"conv2d": 3, "maxpool2d": 3, "linear": 1}  # of what a kind reads; flatten reads any


def output_shape(
    index: int, layer: Mapping[str, Any], weight: Shape | None, input_shape: Shape
) -> Shape:
    """Return the shape of a layer's output; sizes as torch.nn.Conv2d's.

    Raises:
        ValueError: where the layer does not fit its input.
    """
    kind = layer["kind"]
    if kind == "flatten":
        return (prod(input_shape),)
    channels, *sides = input_shape
    if kind not in DIMENSIONS:
        raise ValueError(f"layer {index}: kind = {kind!r}: unknown")
    if len(input_shape) != DIMENSIONS[kind]:
        raise ValueError(f"layer {index}: kind = {kind!r}: does not fit an input of {input_shape}")
    if kind == "maxpool2d":
        return channels, *_slide(index, sides, layer["kernel"], layer)
    if weight is None:
        raise ValueError(f"layer {index}: weight: missing")
    if len(weight) != len(input_shape) + 1 or weight[1] != channels:
        raise ValueError(f"layer {index}: weight {weight} does not fit an input of {input_shape}")
    return weight[0], *_slide(index, sides, weight[-1], layer)


def _slide(index: int, sides: Sequence[int], kernel: int, layer: Mapping[str, Any]) -> Shape:
    """Return how often a square kernel fits on each side; a linear layer's input has none."""
    span = 2 * int(layer.get("padding", 0)) - kernel
    fits = tuple((side + span) // int(layer.get("stride", 1)) + 1 for side in sides)
    if fits and min(fits) < 1:
        raise ValueError(f"layer {index}: kernel = {kernel}: larger than its input")
    return fits
