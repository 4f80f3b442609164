"""How a pixel becomes the number that the network sees.

`dyadic` is pixel / 128 - 1, exact in eight bits: with exponent -7 and zero point 128 the code is
the raw byte. `standard` subtracts each channel's mean and divides by its standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from powtwo.dataset.params import Pixels


@dataclass(frozen=True)
class Normalization:
    """An affine map of pixels; `mean` and `std` are in units of pixel / 255, by channel."""

    kind: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(cls, pixels: Pixels, images: npt.NDArray[np.uint8]) -> Normalization:
        """Make the map that params.yaml asks for.

        Args:
            pixels: what it says.
            images: uint8 training images (N, C, H, W), on which `standard` is measured where
                `pixels` has no numbers.

        Raises:
            ValueError: where numbers are not one for each channel, or a channel is constant.
        """
        pixels.check_channels(images.shape[1])
        if pixels.mean is not None and pixels.std is not None:
            return cls(pixels.normalize, tuple(pixels.mean), tuple(pixels.std))
        return cls(pixels.normalize) if pixels.normalize == "dyadic" else cls.measured(images)

    @classmethod
    def measured(cls, images: npt.NDArray[np.uint8]) -> Normalization:
        """Make the standard map of uint8 training images (N, C, H, W)."""
        # Sums of integers are exact, in whatever order they are added.
        counts = [np.bincount(channel.ravel(), minlength=256) for channel in images.swapaxes(0, 1)]
        histograms, levels = np.array(counts), np.arange(256)  # (C, 256), (256,)
        pixels = images.size // images.shape[1]
        mean = histograms @ levels / pixels
        std = np.sqrt(histograms @ levels**2 / pixels - mean**2)
        if (std == 0).any():
            raise ValueError("data.normalize = 'standard': a channel is constant; use dyadic")
        return cls("standard", tuple((mean / 255).tolist()), tuple((std / 255).tolist()))

    @classmethod
    def of_metadata(cls, values: dict[str, Any]) -> Normalization:
        """Make the map that `asdict` of another one described."""
        mean, std = (tuple(values[key]) if values.get(key) else None for key in ("mean", "std"))
        return cls(values["kind"], mean, std)

    def __call__(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Map uint8 pixels (N, C, H, W) to numbers of the same shape."""
        if self.kind == "dyadic":
            return pixels.to(dtype) / 128 - 1
        assert self.mean is not None
        assert self.std is not None
        mean, std = (_by_channel(values, dtype, pixels.device) for values in (self.mean, self.std))
        return (pixels.to(dtype) / 255 - mean) / std


@lru_cache  # a copy to a GPU waits for it, and would in every step
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device).view(1, -1, 1, 1)
