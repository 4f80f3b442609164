"""Batches of changed images against torchvision's transforms, image by image."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from training_runs import augment

from powtwo.tools import torchvision_import
from powtwo.training.augment import GRAY, TrainingImages, fill, pad, rotate, windows
from powtwo.training.draws import AugmentParams, AugmentSampler
from powtwo.training.params import Augment

CPU = torch.device("cpu")
ON = {
    "crop": 4, "padding": "reflect", "flip": "random", "rotation": 15.0, "erasing": 0.5, "cutout": 8
}  # fmt: skip


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
        ON,
        ON | {"padding": "constant", "flip": "alternating", "erasing_scale": [0.2, 0.29]},
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
    view = windows(pad(images, 1), 32)
    assert view.shape == (2, 3, 3, 32, 32, 3)
    draw = AugmentSampler(2, recipe, 0).epoch(1, 1, 1).steps(CPU)[0]
    for row, top, left in itertools.product(range(2), range(3), range(3)):
        place = (torch.tensor([value]) for value in (row, top, left))
        draw = AugmentParams(*place, *draw[3:])
        (expected,) = one_by_one(images, draw, recipe)
        assert torch.equal(view[row, top, left].permute(2, 0, 1), expected)


@pytest.mark.parametrize(("degrees", "turns"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, -1)])
def test_quarter_turns_lose_nothing(degrees: float, turns: int) -> None:
    images = pictures().permute(0, 2, 3, 1)
    turned = rotate(images, torch.full((30,), degrees))
    assert torch.equal(turned, torch.rot90(images, turns, (1, 2)))


def test_holes_are_filled_and_nothing_else() -> None:
    images = torch.zeros(2, 5, 5, 3, dtype=torch.uint8)
    holes = torch.tensor([[[0, 2, 1, 3], [3, 4, 0, 5]], [[1, 1, 0, 5], [0, 4, 4, 5]]])
    none, corner, right = [0] * 5, [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]
    filled = [[corner, corner, none, [1] * 5, none], [*[right] * 4, none]]
    expected = torch.tensor(filled, dtype=torch.uint8) * GRAY
    assert torch.equal(fill(images, holes), expected.unsqueeze(-1).expand(-1, -1, -1, 3))
