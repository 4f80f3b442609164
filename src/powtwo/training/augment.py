"""Random changes of whole batches, on the device where the images lie.

Images stay bytes, are padded once, and every crop is one gather from a view of all windows. What
chance decides comes from `draws.py`. The order is crop, flip, rotation, erasing, cutout.

Sources:
1. Crop and flip: He et al. 2015, https://arxiv.org/abs/1512.03385, §4.2
2. Rotation by sampling a turned grid: Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.training.draws import AugmentParams
from powtwo.training.params import Augment

GRAY = 128  # of erased pixels: 0 for the network where pixels are normalized as pixel/128 - 1


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn uint8 images (N, H, W, C) about their middle by `angles` (N,), degrees.

    Counter-clockwise, nearest pixel, black where nothing was: torchvision's defaults.
    """
    radians = angles.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    _, height, width, _ = images.shape
    down, across = sin * (width / height), sin * (height / width)  # a grid has sides of 2
    turn = torch.stack([cos, -across, zero, down, cos, zero], dim=1).view(-1, 2, 3)
    x = images.permute(0, 3, 1, 2).float()  # (N, C, H, W)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    turned = F.grid_sample(x, grid, "nearest", align_corners=False)
    return turned.to(torch.uint8).permute(0, 2, 3, 1)


def fill(images: Tensor, holes: Tensor) -> Tensor:
    """Make rectangles gray: images (N, H, W, C), holes (N, R, 4), see `AugmentParams`."""
    row, column = (torch.arange(side, device=images.device) for side in images.shape[1:3])
    top, bottom, left, right = holes.unsqueeze(-1).unbind(2)  # each (N, R, 1)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    inside = (rows.unsqueeze(-1) & columns.unsqueeze(-2)).any(1)  # (N, H, W)
    return images.masked_fill(inside.unsqueeze(-1), GRAY)


class TrainingImages:
    """All training images on the device, and the batches that augmentation makes of them."""

    def __init__(self, images: Tensor, augment: Augment, device: torch.device) -> None:
        """Keep uint8 images (M, C, H, W), padded by `augment.crop` pixels.

        Raises:
            ValueError: where the recipe crops or cuts out more than an image has.
        """
        augment.check_image(images.shape[1:])
        margin, (height, width) = (augment.crop, augment.crop), images.shape[2:]
        pixels = images.permute(0, 2, 3, 1).numpy()  # (M, H, W, C)
        padded = np.pad(pixels, ((0, 0), margin, margin, (0, 0)), augment.padding)
        view = torch.from_numpy(padded).to(device).unfold(1, height, 1).unfold(2, width, 1)
        self._windows = view.permute(0, 1, 2, 4, 5, 3)  # (M, tops, lefts, H, W, C)
        self._augment = augment

    def batch(self, draws: AugmentParams) -> Tensor:
        """Return the images that were drawn: uint8 (N, C, H, W), channels last in memory."""
        images = self._windows[draws.rows, draws.tops, draws.lefts]  # (N, H, W, C)
        if self._augment.flip != "none":
            images = torch.where(draws.mirrored.view(-1, 1, 1, 1), images.flip(2), images)
        if self._augment.rotation:
            images = rotate(images, draws.angles)
        if self._augment.erasing or self._augment.cutout:
            images = fill(images, draws.holes)
        return images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
