"""`models/float-classes.npz`: the class that the float network gives each test image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from powtwo.core import arrays, files, strict

REMEDY = "run the evaluate-float stage again"


def write(path: Path | str, classes: Tensor) -> None:
    """Write classes, int64 (N,)."""
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        arrays.write(file, {"test": classes.numpy()})


def read(path: Path | str, images: int, classes: int) -> Tensor:
    """Return the classes of so many images, int64 (N,), each of so many classes.

    Raises:
        ValueError: where the file is damaged, or of other images.
        OSError: where it cannot be opened, as where there is none.
    """
    with strict.refused(path, REMEDY):
        stored = arrays.read(path)
        strict.require(stored.keys() == {"test"}, "arrays", sorted(stored), "must be test alone")
        found = stored["test"]
        is_plain = found.dtype == np.int64 and found.shape == (images,)
        rule = f"must be int64 {(images,)}, one for each test image"
        strict.require(is_plain, "test", f"{found.dtype} {found.shape}", rule)
        low, high = int(found.min(initial=0)), int(found.max(initial=0))
        wrong = low if low < 0 else high
        strict.require(0 <= wrong < classes, "test", wrong, f"must be 0 to {classes - 1}")
        return torch.from_numpy(found)
