"""An export on disk beside what it came from, and the comparison that checks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from powtwo import engine
from powtwo.core.arrays import Arrays
from powtwo.dataset.images import Dataset
from powtwo.export import golden, manifest
from powtwo.integer.network import IntegerNetwork

BATCH = 250  # images at a time


class DifferenceError(ValueError):
    """An export does not say what the network says."""


@dataclass(frozen=True, eq=False)
class Export:
    """A folder `exports/<scheme>/` and what it must agree with."""

    folder: Path
    network: IntegerNetwork
    dataset: Dataset | None  # None: golden images only
    bench: Sequence[Path] = ()  # Verilog sources of the testbench

    @cached_property
    def about(self) -> dict[str, Any]:
        """Return the manifest."""
        return manifest.load(self.folder)

    @cached_property
    def vectors(self) -> Arrays:
        """Return the golden vectors."""
        return golden.load(self.folder / "golden.npz")

    @cached_property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Return all test images, or the golden ones where there are none: uint8 (N, C, H, W)."""
        if self.dataset is not None:
            return self.dataset.x_test
        return self.vectors["pixels"].astype(np.uint8)

    @cached_property
    def logits(self) -> npt.NDArray[np.int64]:
        """Return the network's logits for `pixels`, (N, classes)."""
        return logits(self.network, self.pixels)


def logits(network: IntegerNetwork, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the logits (N, classes) of the fastest engine that is exact here."""
    running = engine.make(network)
    images = torch.from_numpy(pixels)
    starts = range(0, len(images), BATCH)
    found = torch.cat([running.logits(images[i : i + BATCH]) for i in starts])
    return found.to(torch.int64).numpy()


def require_equal(
    found: npt.NDArray[np.generic], expected: npt.NDArray[np.generic], name: str
) -> None:
    """Compare with `==`, never with a tolerance.

    Raises:
        DifferenceError: saying how many elements differ.
    """
    if found.shape != expected.shape:
        raise DifferenceError(f"{name}: shape {found.shape}, must be {expected.shape}")
    wrong = int((found != expected).sum())
    if wrong:
        raise DifferenceError(f"{name}: {wrong} of {expected.size} differ")
