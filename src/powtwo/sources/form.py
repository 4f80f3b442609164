"""Images of any size and color brought to the form that a run asks for.

The aspect of an image stays. Pillow resamples bytes in fixed point: the same pixels on every
machine. An image that has the form already keeps each of its pixels.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from powtwo.core import machine
from powtwo.dataset.images import Images, Shape
from powtwo.sources.params import Resize, Source

BILINEAR = Image.Resampling.BILINEAR

_TOLD = {
    "crop": "the shorter side fits, the center is kept",
    "pad": "the longer side fits, black around",
}


class Form(NamedTuple):
    """The shape of every image, and what becomes of those with another aspect."""

    shape: Shape = (3, 32, 32)  # (C, H, W)
    resize: Resize = "crop"

    @classmethod
    def of(cls, source: Source) -> Form:
        """Return what params.yaml asks for."""
        return cls(source.shape, source.resize)

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height, as Pillow has them."""
        _, height, width = self.shape
        return width, height

    @property
    def told(self) -> str:
        """Say what becomes of an image of another size, in part of a line."""
        _, height, width = self.shape
        return f"resized to {height}×{width}: {_TOLD[self.resize]}"

    def require_memory(self, count: int) -> None:
        """Refuse so many images where the machine has not the memory for them and their split.

        Raises:
            ValueError: naming their shape, what they take, and what there is.
        """
        needed, there = 2 * count * prod(self.shape), machine.memory()
        if there is not None and needed > there:
            raise ValueError(
                f"data.size: {count:,} images of {'×'.join(map(str, self.shape))} take "
                f"{needed / 2**30:.1f} GiB while they are split, and the machine has "
                f"{there / 2**30:.1f}; lower data.size, or take fewer images"
            )


DEFAULT = Form()


def pixels(image: Image.Image, form: Form) -> Images:
    """Return an image without transparency as pixels (C, H, W), resized where it must be."""
    channels, height, width = form.shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != form.size:
        fit = _pad if form.resize == "pad" else partial(ImageOps.fit, method=BILINEAR)
        image = fit(image, form.size)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def bring(images: Images, form: Form) -> Images:
    """Bring images (N, C, H, W) of equal size, 3 channels or 1, to a form."""
    if images.shape[1:] == form.shape:
        return images
    form.require_memory(len(images))
    brought = np.empty((len(images), *form.shape), dtype=np.uint8)
    for image, place in zip(images, brought, strict=True):
        place[:] = pixels(Image.fromarray(image.transpose(1, 2, 0).squeeze()), form)
    if images.shape[2:] != form.shape[1:]:
        print(f"{len(images):,} images {form.told}", flush=True)
    return brought


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize the whole, and lay it in the middle of black.

    Pillow's own `ImageOps.pad` fails where a side would be less than half a pixel.
    """
    width, height = size
    fit_width = _side(width, image.width * height, image.height)
    fit_height = _side(height, image.height * width, image.width)
    resized = image.resize((fit_width, fit_height), BILINEAR)
    black = Image.new(image.mode, size)
    black.paste(resized, ((width - fit_width) // 2, (height - fit_height) // 2))
    return black


def _side(most: int, dividend: int, divisor: int) -> int:
    """Return a side of the resized image: the quotient rounded, from 1 to `most`."""
    return min(most, max(1, (2 * dividend + divisor) // (2 * divisor)))
