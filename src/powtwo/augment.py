"""Random crops and flips of whole batches, on the device where the images lie.

The images stay bytes, are padded once, and every crop is one gather from a view of all windows.
All draws of an epoch are made together on the CPU: they depend on the seed alone, not on the
device, and a GPU never has to wait for one.

Sources:
1. Crop and flip: He et al. 2015, https://arxiv.org/abs/1512.03385, §4.2
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from powtwo.params import Augment


class Draws(NamedTuple):
    """What chance decided for each image of a batch."""

    rows: Tensor  # int64 (N,), which training image
    tops: Tensor  # int64 (N,), first row of the crop in the padded image, 0 … 2·margin
    lefts: Tensor  # int64 (N,), its first column
    mirrored: Tensor  # bool (N,)


def pad(images: Tensor, margin: int) -> Tensor:
    """Lay black pixels around images: (M, C, H, W) to (M, H + 2·margin, W + 2·margin, C)."""
    count, channels, height, width = images.shape
    padded = images.new_zeros(count, height + 2 * margin, width + 2 * margin, channels)
    padded[:, margin : margin + height, margin : margin + width] = images.permute(0, 2, 3, 1)
    return padded


def windows(padded: Tensor, size: int) -> Tensor:
    """View every square of `size` pixels: (M, H, W, C) to (M, tops, lefts, size, size, C)."""
    view = padded.unfold(1, size, 1).unfold(2, size, 1)  # (M, tops, lefts, C, size, size)
    return view.permute(0, 1, 2, 4, 5, 3)


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Exchange left and right where `mirrored` (N,) says so: (N, H, W, C) to the same."""
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(2), images)


class TrainingImages:
    """All training images on the device, and the batches that augmentation makes of them."""

    def __init__(self, images: Tensor, augment: Augment, device: torch.device) -> None:
        """Keep uint8 images (M, C, H, W), padded by `augment.crop` pixels."""
        self._windows = windows(pad(images.to(device), augment.crop), images.shape[-1])
        self._augment = augment

    def draw(self, steps: int, batch_size: int, generator: torch.Generator) -> list[Draws]:
        """Draw an epoch: no image twice, `steps` batches of `batch_size`, a CPU `generator`.

        Every number is drawn whatever the recipe uses, so that a crop or a flip switched off
        leaves the order of the images as it was.
        """
        count = steps * batch_size
        rows = torch.randperm(len(self._windows), generator=generator)[:count]
        shifts = torch.randint(2 * self._augment.crop + 1, (2, count), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        epoch = (
            chance.to(self._windows.device).view(steps, batch_size)
            for chance in (rows, *shifts, mirrored)
        )
        return [Draws(*step) for step in zip(*epoch, strict=True)]

    def batch(self, draws: Draws) -> Tensor:
        """Make the images that were drawn: uint8 (N, C, H, W), channels last in memory."""
        images = self._windows[draws.rows, draws.tops, draws.lefts]  # (N, H, W, C)
        if self._augment.flip:
            images = flip(images, draws.mirrored)
        return images.permute(0, 3, 1, 2)  # (N, C, H, W)
