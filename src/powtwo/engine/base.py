"""What every engine is, and the reference as one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from powtwo.integer.network import IntegerNetwork


class Engine:
    """Runs an integer network on batches of pixels."""

    name: ClassVar[str]

    def __init__(self, network: IntegerNetwork, device: str = "cpu") -> None:
        self.network = network
        self.device = torch.device(device)

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output for uint8 pixels (N, C, H, W): uint8 codes or int32."""
        raise NotImplementedError

    def logits(self, pixels: Tensor) -> Tensor:
        """Return the last layer's output, (N, classes)."""
        return deque(self.outputs(pixels), maxlen=1).pop()  # the others are let go

    def predict(self, pixels: Tensor) -> Tensor:
        """Return the class of each image, int64 (N,); of equal logits the first wins."""
        return self.logits(pixels).to(torch.int32).argmax(1)


class Reference(Engine):
    """The arithmetic of `integer_layer`, step by step, on the CPU."""

    name = "reference"

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output."""
        for _, output in self.network.outputs(pixels):
            yield output
