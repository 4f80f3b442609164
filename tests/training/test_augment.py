"""Batches of changed images against torchvision's transforms, image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training_runs import ALL_ON, augment

from powtwo.tools import torchvision_import
from powtwo.training.augment import GRAY, TrainingImages, rotate
from powtwo.training.draws import AugmentParams, AugmentSampler
from powtwo.training.params import Augment

CPU = torch.device("cpu")


def pictures(count: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def one_by_one(images: torch.Tensor, draws: AugmentParams, recipe: Augment) -> torch.Tensor:
    """Apply torchvision's functional transforms with the same draws."""
    torchvision_import.import_torchvision()
    from torchvision.transforms import functional

    changed = []
    for row, top, left, mirrored, angle, holes in zip(*(d.tolist() for d in draws), strict=True):
        image = functional.pad(images[row], [recipe.crop], padding_mode=recipe.padding)
        image = functional.crop(image, top, left, 32, 32)
        image = functional.hflip(image) if mirrored else image
        image = functional.rotate(image, angle)
        for above, below, before, behind in holes:
            height, width = below - above, behind - before
            gray = torch.tensor(GRAY, dtype=torch.uint8)
            image = functional.erase(image, above, before, height, width, gray)
        changed.append(image)
    return torch.stack(changed)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"crop": 2},
        {"crop": 4, "flip": "random"},
        {"crop": 4, "padding": "reflect"},
        {"crop": 16, "padding": "reflect"},
        {"flip": "alternating"},
        {"rotation": 15.0},
        {"rotation": 180.0},
        {"erasing": 1.0},
        {"cutout": 8},
        {"cutout": 7},
        ALL_ON,
        ALL_ON | {"padding": "constant", "flip": "random", "erasing_scale": [0.2, 0.29]},
    ],
)
def test_a_batch_is_what_torchvision_makes_of_each_image(changes: dict[str, Any]) -> None:
    images, recipe = pictures(), augment(**changes)
    source = TrainingImages(images, recipe, CPU)
    for draws in AugmentSampler(30, recipe, 5).epoch(1, 3, 10).steps(CPU):
        batch = source.batch(draws)
        assert batch.dtype == torch.uint8
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, one_by_one(images, draws, recipe))


def test_every_window_of_every_image() -> None:
    images, recipe = pictures(2), augment(crop=1)
    (drawn,) = AugmentSampler(18, recipe, 0).epoch(1, 1, 18).steps(CPU)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).unbind(1)
    draws = AugmentParams(*places, *drawn[3:])
    batch = TrainingImages(images, recipe, CPU).batch(draws)
    assert torch.equal(batch, one_by_one(images, draws, recipe))


@pytest.mark.parametrize(("degrees", "turns"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, -1)])
def test_quarter_turns_lose_nothing(degrees: float, turns: int) -> None:
    images = pictures().permute(0, 2, 3, 1)
    turned = rotate(images, torch.full((30,), degrees))
    assert torch.equal(turned, torch.rot90(images, turns, (1, 2)))
