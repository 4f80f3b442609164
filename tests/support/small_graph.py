"""A small real residual network with everything in it, trained for a moment."""

from __future__ import annotations

from functools import cache

import torch

from powtwo.dataset.normalization import Normalization
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.graph import GraphArchitecture
from powtwo.network.spec import LayerSpec, Specs

CLASSES = ("ant", "bee", "cat", "dog")
IMAGE = (3, 12, 10)


def specs() -> Specs:
    """Return two residual blocks, one depthwise and one with a shortcut of its own."""
    relu, relu6, norm = LayerSpec("relu"), LayerSpec("relu6"), LayerSpec("batch_norm")
    layers = (
        LayerSpec("conv2d", outputs=8, kernel=3, padding=1, bias=False), norm, relu,  # 2
        LayerSpec("conv2d", outputs=8, kernel=3, padding=1, groups=8), norm, relu6,
        LayerSpec("conv2d", outputs=8, kernel=1), norm,  # 7
        LayerSpec("add", (7, 2)), relu,  # 9
        LayerSpec("conv2d", outputs=12, kernel=(3, 2), stride=2, padding=(0, 1, 1, 0)), relu,
        LayerSpec("conv2d", outputs=12, kernel=3, padding=1, groups=2), norm,  # 13
        LayerSpec("avgpool2d", (9,), kernel=(2, 1), stride=2),  # 14
        LayerSpec("conv2d", outputs=12, kernel=1),  # 15
        LayerSpec("add", (13, 15)), relu,  # 17
        LayerSpec("maxpool2d", kernel=3, stride=2, padding=1),
        LayerSpec("avgpool2d", kernel=3), LayerSpec("flatten"),
        LayerSpec("linear", outputs=len(CLASSES)),
    )  # fmt: skip
    return Specs(IMAGE, layers)


@cache
def checkpoint() -> Checkpoint:
    """Return the network with batch norms that have seen data, so that folding changes weights."""
    torch.manual_seed(0)
    architecture = GraphArchitecture(specs())
    network = architecture.build().train()
    for _ in range(3):
        network(torch.randn(16, *IMAGE) * 0.7)
    return Checkpoint(architecture, Normalization("dyadic"), dict(network.state_dict()))


def images(count: int = 24) -> torch.Tensor:
    """Return uint8 images (N, C, H, W)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *IMAGE), dtype=torch.uint8, generator=generator)
