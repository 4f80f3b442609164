"""`weight.bin` and `input.bin`, as the course's later labs read them: little endian, no magic.

`weight.bin` has no header: for each computing layer in order its int8 weights (O, I, kH, kW) or
(O, I), the input channels zero-padded to a multiple of 4, then its int32 biases (O,).

`input.bin`: u32 number of classes; for each class u32 length and UTF-8 name; u32 images a class;
u32 values an image; then float32 (C, H, W) images in [0, 1], class by class.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from powtwo.dataset.images import Dataset, Images
from powtwo.export.errors import UnsupportedError
from powtwo.export.steps import Step, array, folded_bias, of_network, shifts
from powtwo.integer.network import IntegerNetwork

WEIGHTS, INPUTS = "weight.bin", "input.bin"
CHANNELS = 4  # that the accelerator reads at a time


def weights(network: IntegerNetwork) -> bytes:
    """Return `weight.bin`.

    Raises:
        UnsupportedError: where shifts differ by channel: the file has none, the course's
            accelerator takes one a layer.
    """
    return b"".join(tensor.tobytes() for _, _, tensor in _tensors(network))


def describe_weights(network: IntegerNetwork) -> dict[str, Any]:
    """Return what the manifest says of `weight.bin`: each tensor and its place in the file."""
    places, offset = [], 0
    for step, name, tensor in _tensors(network):
        places.append({
            "bytes": tensor.nbytes,
            "layer": step.index,
            "offset": offset,
            "shape": tensor.shape,
            "tensor": name,
            "type": tensor.dtype.name,
        })  # fmt: skip
        offset += tensor.nbytes
    half_up = network.rounding == "half_up"
    return {
        "bias": "2^(shift - 1) is in it: shift with floor" if half_up else "as stored",
        "byte_order": "little",
        "padding": f"input channels zero-padded to a multiple of {CHANNELS}",
        "rounding": "floor" if half_up else network.rounding,
        "tensors": places,
    }


def inputs(dataset: Dataset, count: int) -> bytes:
    """Return `input.bin` with the first `count` test images of each class.

    Where a class has fewer, each class gets as many as that.

    Raises:
        UnsupportedError: where a class has no test image at all.
    """
    images = images_by_class(dataset, count)
    names = [name.encode() for name in dataset.classes]
    parts = [struct.pack("<I", len(names))]
    parts += [struct.pack("<I", len(name)) + name for name in names]
    parts.append(struct.pack("<II", images.shape[1], prod(images.shape[2:])))
    # Division of small integers is rounded once, so that round(255 · value) is the byte again.
    values = (images.astype(np.float32) / np.float32(255)).astype("<f4")
    return b"".join(parts) + values.tobytes()


def images_by_class(dataset: Dataset, count: int) -> Images:
    """Return the images of `input.bin` as bytes, uint8 (classes, count, C, H, W)."""
    held = np.bincount(dataset.y_test, minlength=len(dataset.classes))
    if not held.min():
        name = dataset.classes[int(held.argmin())]
        raise UnsupportedError(f"{INPUTS}: class {name!r} has no test image; it needs one of each")
    count = min(count, int(held.min()))
    chosen = [np.flatnonzero(dataset.y_test == label)[:count] for label in range(len(held))]
    return dataset.x_test[np.stack(chosen)]


def describe_inputs(network: IntegerNetwork, dataset: Dataset, count: int) -> dict[str, Any]:
    """Return what the manifest says of `input.bin`: its counts, and the way to codes."""
    images = images_by_class(dataset, count)
    return {
        "byte_order": "little",
        "classes": len(images),
        "images_a_class": images.shape[1],
        "to_codes": "pixel = round(255 * value); then as under input",
        "values_an_image": prod(network.input.shape),
    }


def read_weights(data: bytes, network: IntegerNetwork) -> list[npt.NDArray[np.generic]]:
    """Return the tensors of a `weight.bin` for this network, padding still on.

    Raises:
        ValueError: where the file has another length.
    """
    tensors, offset = [], 0
    for _, _, tensor in _tensors(network):
        flat = np.frombuffer(data[offset : offset + tensor.nbytes], tensor.dtype)
        tensors.append(flat.reshape(tensor.shape))
        offset += tensor.nbytes
    if offset != len(data):
        raise ValueError(f"{WEIGHTS}: has {len(data)} bytes, must have {offset}; export again")
    return tensors


def read_inputs(data: bytes) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return the class names and the values of an `input.bin`, float32 (classes, count, values).

    Raises:
        ValueError: where the file ends too early or late.
    """
    try:
        (classes,), offset, names = struct.unpack_from("<I", data), 4, []
        for _ in range(classes):
            (length,) = struct.unpack_from("<I", data, offset)
            names.append(data[offset + 4 : offset + 4 + length].decode())
            offset += 4 + length
        count, size = struct.unpack_from("<II", data, offset)
        values = np.frombuffer(data, "<f4", offset=offset + 8)
        return names, values.reshape(classes, count, size).astype(np.float32)
    except (struct.error, ValueError) as error:
        raise ValueError(f"{INPUTS}: damaged ({error}); export again") from None


def _tensors(network: IntegerNetwork) -> Iterator[tuple[Step, str, npt.NDArray[np.generic]]]:
    for step in of_network(network, WEIGHTS):
        if not step.layer.has_weights:
            continue
        if len(shifts(step.layer)) > 1:
            raise UnsupportedError(
                f"{WEIGHTS}: layer {step.index} has shifts by output channel; the course's "
                "accelerator takes one a layer: give its weights one exponent"
            )
        weight = array(step.layer.weight)
        missing = -weight.shape[1] % CHANNELS
        sides = [(0, missing if axis == 1 else 0) for axis in range(weight.ndim)]
        yield step, "weight", np.pad(weight, sides)
        yield step, "bias", folded_bias(step.layer, network.rounding).astype("<i4")
