"""The file of the float network's classes: read as it was written, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from powtwo.core import arrays
from powtwo.evaluation import float_classes


def test_what_was_written_is_read(tmp_path: Path) -> None:
    classes = torch.arange(12) % 5
    float_classes.write(tmp_path / "c.npz", classes)
    assert torch.equal(float_classes.read(tmp_path / "c.npz", 12, 5), classes)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({}, "arrays = []: must be test alone"),
        ({"other": np.zeros(3, np.int64)}, "arrays = ['other']: must be test alone"),
        ({"test": np.zeros(2, np.int64)}, "test = 'int64 (2,)': must be int64 (3,), one for each"),
        ({"test": np.zeros(3)}, "test = 'float64 (3,)': must be int64 (3,), one for each"),
        ({"test": np.array([0, 5, 1])}, "test = 5: must be 0 to 4"),
        ({"test": np.array([0, -1, 1])}, "test = -1: must be 0 to 4"),
        (None, "File is not a zip file"),
    ],
)
def test_another_file_is_refused(
    stored: dict[str, np.ndarray] | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.npz"
    with path.open("wb") as file:
        if stored is None:
            file.write(b"PK\3\4 no archive")
        else:
            arrays.write(file, stored)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        float_classes.read(path, 3, 5)
    assert str(refusal.value).startswith(f"{path}: {reason}")
    assert str(refusal.value).endswith("; run the evaluate-float stage again")
