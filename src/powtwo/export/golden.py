"""`golden.npz`: what the reference arithmetic gives for a handful of images, layer by layer.

| array | type and shape | what it is |
|---|---|---|
| `pixels` | uint8 (N, C, H, W) | the images |
| `codes` | uint8 (N, C, H, W) | what the first layer takes |
| `layers.<i>.accumulators` | int32 (N, O, …) | sums before ReLU and shift, bias included |
| `layers.<i>.output` | uint8 or int32 (N, …) | what the layer gives |
| `predictions` | int64 (N,) | the class; of equal logits the first |
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from powtwo.core import arrays
from powtwo.core.arrays import Arrays
from powtwo.integer.network import IntegerNetwork


def vectors(network: IntegerNetwork, pixels: npt.NDArray[np.uint8]) -> Arrays:
    """Run the reference on uint8 pixels (N, C, H, W) and return every array by its name."""
    images = torch.from_numpy(pixels)
    values: Arrays = {"pixels": pixels, "codes": network.input.encode(images).numpy()}
    output = images
    for index, (accumulators, output) in enumerate(network.outputs(images)):
        if accumulators is not None:
            values[f"layers.{index}.accumulators"] = accumulators.numpy()
        values[f"layers.{index}.output"] = output.numpy()
    return values | {"predictions": output.numpy().argmax(1)}


def to_bytes(vectors: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
    """Return the .npz file, the same bytes for the same arrays; nothing in it needs a pickle."""
    buffer = io.BytesIO()
    arrays.write(buffer, vectors)
    return buffer.getvalue()
