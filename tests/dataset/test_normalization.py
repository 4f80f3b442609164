"""Pixels as numbers: exact in eight bits, or by each channel's mean and deviation."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from powtwo.dataset.normalization import Normalization
from powtwo.dataset.params import Pixels


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def test_dyadic_is_exact_and_its_code_is_the_byte() -> None:
    bytes_ = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x = Normalization("dyadic")(bytes_, dtype)
        assert x.dtype == dtype
        assert torch.equal(x.double() * 128 + 128, bytes_.double())


def test_standard_against_numpy() -> None:
    images = pixels(50)
    images[:, 1] //= 3
    normalization = Normalization.measured(images)
    scaled = images.astype(np.float64) / 255
    mean, std = (
        statistic(scaled, axis=(0, 2, 3), keepdims=True) for statistic in (np.mean, np.std)
    )
    np.testing.assert_allclose(np.array(normalization.mean), mean.ravel(), rtol=1e-12)
    np.testing.assert_allclose(np.array(normalization.std), std.ravel(), rtol=1e-12)
    x = normalization(torch.from_numpy(images), torch.float64)
    np.testing.assert_allclose(x.numpy(), (scaled - mean) / std, rtol=1e-12, atol=1e-12)
    assert Normalization.of_metadata(asdict(normalization)) == normalization


def test_numbers_of_the_parameters_go_before_measured_ones() -> None:
    """ImageNet's, as an imported network brings them."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    values = Pixels(normalize="standard", mean=mean, std=std)
    normalization = Normalization.of(values, pixels(2))
    assert normalization == Normalization("standard", tuple(mean), tuple(std))
    red = normalization(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), torch.float64)[0, 0]
    assert red.item() == pytest.approx((1 - 0.485) / 0.229, rel=1e-12)
    with pytest.raises(ValueError, match=r"^data.mean = \[.*\]: must be 1 number for images of"):
        Normalization.of(values, pixels(2)[:, :1])


def test_without_numbers_they_are_measured() -> None:
    images = pixels(3)[:, :1]
    assert Normalization.of(Pixels(normalize="standard"), images) == Normalization.measured(images)
    assert Normalization.of(Pixels(normalize="dyadic"), images) == Normalization("dyadic")


def test_standard_refuses_a_constant_channel() -> None:
    images = pixels(4)
    images[:, 2] = 7
    with pytest.raises(ValueError, match="constant"):
        Normalization.measured(images)
