"""What every engine is, and the reference as one of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from powtwo.integer.network import IntegerNetwork

BATCH = 256  # images at a time, for memory alone


class Engine:
    """Runs an integer network on images; results do not depend on how they are batched."""

    name: ClassVar[str]

    def __init__(self, network: IntegerNetwork, device: str = "cpu") -> None:
        self.network = network
        self.device = torch.device(device)

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output for one batch, uint8 (N, C, H, W): uint8 codes or int32."""
        raise NotImplementedError

    def resume(self, values: Mapping[int, Tensor]) -> Iterator[Tensor]:
        """Yield each layer's output after the highest index of `values`.

        Those are codes, as `outputs` yields them, by the index of their layer; the image's is -1.
        """
        raise NotImplementedError

    def logits(self, images: Tensor, batch_size: int = BATCH) -> Tensor:
        """Return the last layer's output, (N, classes), for any number of images."""
        return torch.cat([self._logits(batch) for batch in torch.split(images, batch_size)])

    def predict(self, images: Tensor, batch_size: int = BATCH) -> Tensor:
        """Return the class of each image, int64 (N,); of equal logits the first wins."""
        return self.logits(images, batch_size).to(torch.int32).argmax(1)

    def _logits(self, pixels: Tensor) -> Tensor:
        return deque(self.outputs(pixels), maxlen=1).pop()  # the others are let go


class Reference(Engine):
    """The arithmetic of `powtwo.integer`, step by step, on the CPU."""

    name = "reference"

    def outputs(self, pixels: Tensor) -> Iterator[Tensor]:
        """Yield each layer's output."""
        for _, output in self.network.outputs(pixels):
            yield output

    def resume(self, values: Mapping[int, Tensor]) -> Iterator[Tensor]:
        """Yield each layer's output after those that there are."""
        for _, output in self.network.resume(dict(values)):
            yield output
