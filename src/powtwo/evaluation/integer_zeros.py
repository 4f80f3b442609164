"""How many products of the integer network have a zero operand: its codes, counted by `zeros`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from powtwo.engine.base import Engine
from powtwo.evaluation.zeros import Zeros, count_zeros


def count_integer_zeros(engine: Engine, images: Tensor, batch_size: int) -> list[Zeros]:
    """Count the zeros of each weighted layer on uint8 images (N, C, H, W)."""
    network = engine.network

    def inputs() -> Iterator[list[Tensor]]:
        for pixels in torch.split(images, batch_size):
            codes = [network.input.encode(pixels), *engine.outputs(pixels)]
            yield [
                codes[sources[0] + 1] if layer.input is None
                else codes[sources[0] + 1].to(torch.int16) - layer.input.zero_point
                for layer, sources in zip(network.layers, network.sources, strict=True)
            ]  # fmt: skip

    return count_zeros(network.layers, inputs(), len(images))
