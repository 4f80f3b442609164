"""Everything random about an epoch, drawn before it begins.

All draws are made on the CPU: they depend on the seed alone, not on the device or on how many
processes share a step, and a GPU never has to wait for one.

Sources:
1. Alternating flip: Jordan 2024, https://arxiv.org/abs/2404.00498, §3.6
2. Cutout: DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552
3. Random erasing: Zhong et al. 2017, https://arxiv.org/abs/1708.04896; which rectangles are drawn
   is as in torchvision's `RandomErasing`
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from powtwo.training.params import Augment

# Height over width of an erased rectangle, narrowest and widest; in units of the image's sides, so
# that every rectangle fits an image that is no square.
ASPECTS = (0.3, 3.3)


class AugmentParams(NamedTuple):
    """What was drawn for each image of a batch (N,), or of all batches of an epoch: (steps, N)."""

    rows: Tensor  # int64 (N,), which training image
    tops: Tensor  # int64 (N,), first row of the crop in the padded image, 0 … 2·margin
    lefts: Tensor  # int64 (N,), its first column
    mirrored: Tensor  # bool (N,)
    angles: Tensor  # float32 (N,), degrees counter-clockwise
    holes: Tensor  # int64 (N, 2, 4), erased and cut out: top, bottom, left, right; ends not in it

    def steps(self, device: torch.device, share: slice = slice(None)) -> list[AugmentParams]:
        """Move an epoch to the device at once, and split it into its steps; `share` of each."""
        moved = (field[:, share].to(device) for field in self)
        return [
            AugmentParams(*step) for step in zip(*(field.unbind() for field in moved), strict=True)
        ]


class AugmentSampler:
    """The generators of a run, and the side that each image has where flips alternate."""

    def __init__(self, images: tuple[int, ...], augment: Augment, seed: int) -> None:
        """Draw for training images of this shape (M, C, H, W); equal seeds give equal draws."""
        self._images, _, *self._size = images
        self._augment = augment
        self._order = torch.Generator().manual_seed(seed)
        # A generator takes 32 bits of its seed, so a second stream needs another seed below 2^32.
        (second,) = np.random.SeedSequence((seed, 1)).generate_state(1).tolist()
        self._holes = torch.Generator().manual_seed(second)
        self._sides = torch.rand(self._images, generator=self._holes) < 0.5

    def epoch(self, number: int, steps: int, batch_size: int) -> AugmentParams:
        """Draw epoch `number`, from 1: no image twice, `steps` batches of `batch_size`.

        Every number is drawn whatever the recipe uses, so that what is switched off leaves the
        order of the images as it was.
        """
        count, recipe = steps * batch_size, self._augment
        rows = torch.randperm(self._images, generator=self._order)[:count]
        tops, lefts = torch.randint(2 * recipe.crop + 1, (2, count), generator=self._order)
        mirrored = torch.rand(count, generator=self._order) < 0.5
        if recipe.flip == "alternating":
            mirrored = self._sides[rows] ^ (number % 2 == 0)
        elif recipe.flip == "none":
            mirrored = torch.zeros(count, dtype=torch.bool)
        angles = (2 * torch.rand(count, generator=self._holes) - 1) * recipe.rotation
        holes = torch.stack([self._erased(count), self._cut_out(count)], dim=1)
        drawn = AugmentParams(rows, tops, lefts, mirrored, angles, holes)
        return AugmentParams(*(field.view(steps, batch_size, *field.shape[1:]) for field in drawn))

    def state(self) -> list[Tensor]:
        """Return where the generators stand."""
        return [self._order.get_state(), self._holes.get_state()]

    def restore(self, state: list[Tensor]) -> None:
        """Resume from what `state` returned."""
        self._order.set_state(state[0])
        self._holes.set_state(state[1])

    def _erased(self, count: int) -> Tensor:
        """Draw rectangles (count, 4), empty ones where nothing is erased (source 3)."""
        drawn, size, shape, *corner = torch.rand(5, count, generator=self._holes)
        smallest, largest = self._augment.erasing_scale
        area = smallest + (largest - smallest) * size  # fraction of the image's
        narrow, wide = (math.log(aspect) for aspect in ASPECTS)
        aspect = (narrow + (wide - narrow) * shape).exp()
        erased = drawn < self._augment.erasing
        fractions = [(area * aspect).sqrt(), (area / aspect).sqrt()]
        height, width = (
            (fraction * side).round().where(erased, 0)
            for fraction, side in zip(fractions, self._size, strict=True)
        )
        top, left = (
            (fraction * (whole - side + 1)).floor()
            for fraction, whole, side in zip(corner, self._size, (height, width), strict=True)
        )
        return torch.stack([top, top + height, left, left + width], dim=1).long()

    def _cut_out(self, count: int) -> Tensor:
        """Draw squares (count, 4) with their middle anywhere, clipped at the border (source 2)."""
        ends = []
        for side in self._size:
            first = torch.randint(side, (count,), generator=self._holes) - self._augment.cutout // 2
            ends += [first.clamp(0, side), (first + self._augment.cutout).clamp(0, side)]
        return torch.stack(ends, dim=1)
