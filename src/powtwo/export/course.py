"""`weight.bin` and `input.bin`, as the course's later labs read them: little endian, no magic.

`weight.bin` has no header: for each weighted layer in order its int8 weights (O, I, kH, kW) or
(O, I), the input channels zero-padded to a multiple of 4, then its int32 biases (O,).

`input.bin`: u32 number of classes; for each class u32 length and UTF-8 name; u32 images a class;
u32 values an image; then float32 (C, H, W) images in [0, 1], class by class.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from powtwo.core.windows import four, pair
from powtwo.dataset.images import Dataset, Images
from powtwo.export.steps import FOLDED, Step, UnsupportedError
from powtwo.integer.rounding import Rounding

WEIGHTS, INPUTS = "weight.bin", "input.bin"
CHANNELS = 4  # that the accelerator reads at a time


class CourseTensor(NamedTuple):
    """A tensor of `weight.bin`: int8 weights with their padding, or int32 biases."""

    layer: int  # index in the network
    name: str  # weight, bias
    values: npt.NDArray[np.generic]


def tensors(steps: Sequence[Step]) -> list[CourseTensor]:
    """List the tensors of `weight.bin` in their order.

    Raises:
        UnsupportedError: where shifts differ by channel: the file has none, the course's
            accelerator takes one a layer.
    """
    listed = []
    for step in steps:
        _require_plain(step)
        if not step.layer.has_weights:
            continue
        if len(step.shifts) > 1:
            raise UnsupportedError(
                f"{WEIGHTS}: layer {step.index} has shifts by output channel; the course's "
                "accelerator takes one a layer: give its weights one exponent"
            )
        missing = -step.weight.shape[1] % CHANNELS
        padding = [(0, missing if axis == 1 else 0) for axis in range(step.weight.ndim)]
        listed.append(CourseTensor(step.index, "weight", np.pad(step.weight, padding)))
        listed.append(CourseTensor(step.index, "bias", step.bias.astype("<i4")))
    return listed


def _require_plain(step: Step) -> None:
    """Refuse a layer that the course's accelerator does not know.

    Raises:
        UnsupportedError: naming the layer and what is unknown.
    """
    layer, (high, wide) = step.layer, pair(step.layer.kernel)
    strides, padding = pair(layer.stride), four(layer.padding)
    odd = {
        f"is of kind {layer.kind}": layer.kind in ("add", "avgpool2d"),
        "reads another than the layer before": layer.inputs not in (None, (step.index - 1,)),
        f"has {layer.groups} groups": layer.groups != 1,
        "has a ReLU6": layer.maximum is not None,
        f"has a kernel of {high}x{wide}": high != wide,
        f"has strides of {strides}": len(set(strides)) > 1,
        f"has a padding of {padding}": len(set(padding)) > 1,
        "pads a pooling": layer.kind == "maxpool2d" and any(padding),
    }
    for fault, there in odd.items():
        if there:
            raise UnsupportedError(
                f"{WEIGHTS}: layer {step.index} {fault}, which the course's accelerator does not "
                "know; leave course out of the formats"
            )


def weights(tensors: Sequence[CourseTensor]) -> bytes:
    """Return `weight.bin`."""
    return b"".join(tensor.values.tobytes() for tensor in tensors)


def describe_weights(tensors: Sequence[CourseTensor], rounding: Rounding) -> dict[str, Any]:
    """Return what the manifest says of `weight.bin`: each tensor and its offset in the file."""
    offsets = accumulate((tensor.values.nbytes for tensor in tensors), initial=0)
    return {
        "bias": FOLDED if rounding.folds else "as stored",
        "byte_order": "little",
        "padding": f"input channels zero-padded to a multiple of {CHANNELS}",
        "rounding": Rounding.FLOOR if rounding.folds else rounding,
        "tensors": [
            {
                "bytes": values.nbytes,
                "layer": layer,
                "offset": offset,
                "shape": values.shape,
                "tensor": name,
                "type": values.dtype.name,
            }
            for (layer, name, values), offset in zip(tensors, offsets, strict=False)
        ],
    }


def inputs(images: Images, classes: Sequence[str]) -> bytes:
    """Return `input.bin` for images uint8 (classes, count, C, H, W) and the classes' names."""
    names = [name.encode() for name in classes]
    parts = [struct.pack("<I", len(names))]
    parts += [struct.pack("<I", len(name)) + name for name in names]
    parts.append(struct.pack("<II", images.shape[1], prod(images.shape[2:])))
    # Division of small integers is rounded once, so that round(255 · value) is the byte again.
    values = (images.astype(np.float32) / np.float32(255)).astype("<f4")
    return b"".join(parts) + values.tobytes()


def images_by_class(dataset: Dataset, count: int) -> Images:
    """Return the first `count` test images of each class, uint8 (classes, count, C, H, W).

    Where a class has fewer, each class gets as many as that.

    Raises:
        UnsupportedError: where a class has no test image at all.
    """
    held = np.bincount(dataset.y_test, minlength=len(dataset.classes))
    if not held.min():
        name = dataset.classes[int(held.argmin())]
        raise UnsupportedError(f"{INPUTS}: class {name!r} has no test image; it needs one of each")
    count = min(count, int(held.min()))
    chosen = [np.flatnonzero(dataset.y_test == label)[:count] for label in range(len(held))]
    return dataset.x_test[np.stack(chosen)]


def describe_inputs(images: Images) -> dict[str, Any]:
    """Return what the manifest says of `input.bin`: its counts, and the way to codes."""
    return {
        "byte_order": "little",
        "classes": len(images),
        "images_a_class": images.shape[1],
        "to_codes": "pixel = round(255 * value); then as under input",
        "values_an_image": prod(images.shape[2:]),
    }
