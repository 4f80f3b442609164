"""An export on disk beside what it came from, and the comparison that checks are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from powtwo.core import arrays
from powtwo.core.arrays import Arrays
from powtwo.dataset.images import Dataset, Images
from powtwo.engine.choose import make
from powtwo.export import manifest
from powtwo.export.steps import Step, steps_of
from powtwo.integer.network import IntegerNetwork


class DifferenceError(ValueError):
    """An export does not say what the network says."""


class SkippedError(RuntimeError):
    """A check that cannot be made here, and why."""


@dataclass(frozen=True, eq=False)
class Export:
    """A folder `exports/<scheme>/` and what it must agree with."""

    folder: Path
    network: IntegerNetwork
    dataset: Dataset | None  # None: golden images only

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        return manifest.load(self.folder)

    @cached_property
    def vectors(self) -> Arrays:
        """Return the golden vectors."""
        path = self.folder / "golden.npz"
        try:
            return arrays.read(path)
        except ValueError as error:
            raise ValueError(f"{path}: no golden vectors ({error}); export again") from error

    @cached_property
    def steps(self) -> list[Step]:
        """Return the network's layers with their shapes."""
        return steps_of(self.network)

    @property
    def pixels(self) -> Images:
        """Return all test images, or the golden ones where there are none: uint8 (N, C, H, W)."""
        return self.vectors["pixels"] if self.dataset is None else self.dataset.x_test

    @cached_property
    def logits(self) -> npt.NDArray[np.int64]:
        """Return the network's logits for `pixels`, (N, classes)."""
        return logits(self.network, self.pixels)


def logits(network: IntegerNetwork, pixels: Images) -> npt.NDArray[np.int64]:
    """Return the logits (N, classes) of the fastest engine that is exact here."""
    return make(network).logits(torch.from_numpy(pixels)).to(torch.int64).numpy()


def require_equal(
    found: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], name: str
) -> None:
    """Compare with `==`, never with a tolerance.

    Raises:
        DifferenceError: saying how many elements differ.
    """
    if found.shape != expected.shape:
        raise DifferenceError(f"{name}: shape {found.shape}, must be {expected.shape}")
    if wrong := int((found != expected).sum()):
        raise DifferenceError(f"{name}: {wrong} of {expected.size} differ")
