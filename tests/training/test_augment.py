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


def pictures(count: int = 30, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


def one_by_one(images: torch.Tensor, draws: AugmentParams, recipe: Augment) -> torch.Tensor:
    """Apply torchvision's functional transforms with the same draws."""
    torchvision_import.import_torchvision()
    from torchvision.transforms import functional

    changed = []
    for row, top, left, mirrored, angle, holes in zip(*(d.tolist() for d in draws), strict=True):
        image = functional.pad(images[row], [recipe.crop], padding_mode=recipe.padding)
        image = functional.crop(image, top, left, *images.shape[2:])
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
    for draws in AugmentSampler(tuple(images.shape), recipe, 5).epoch(1, 3, 10).steps(CPU):
        batch = source.batch(draws)
        assert batch.dtype == torch.uint8
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, one_by_one(images, draws, recipe))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 56), (1, 16, 64)])
@pytest.mark.parametrize("changes", [ALL_ON, {"crop": 4, "rotation": 15.0}])
def test_images_of_other_shapes_are_changed_alike(
    shape: tuple[int, int, int], changes: dict[str, Any]
) -> None:
    images, recipe = pictures(shape=shape), augment(**changes)
    source = TrainingImages(images, recipe, CPU)
    for draws in AugmentSampler(tuple(images.shape), recipe, 5).epoch(1, 3, 10).steps(CPU):
        assert torch.equal(source.batch(draws), one_by_one(images, draws, recipe))


@pytest.mark.parametrize(("key", "value", "most"), [("crop", 15, 14), ("cutout", 29, 28)])
def test_more_than_an_image_has_is_refused(key: str, value: int, most: int) -> None:
    images = pictures(2, (1, 28, 40))
    TrainingImages(images, augment(**{key: most}), CPU)
    rule = rf"^train.augment.{key} = {value}: must be at most {most} for images of 28x40\Z"
    with pytest.raises(ValueError, match=rule):
        TrainingImages(images, augment(**{key: value}), CPU)


def test_every_window_of_every_image() -> None:
    images, recipe = pictures(2), augment(crop=1)
    (drawn,) = AugmentSampler((18, 3, 32, 32), recipe, 0).epoch(1, 1, 18).steps(CPU)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).unbind(1)
    draws = AugmentParams(*places, *drawn[3:])
    batch = TrainingImages(images, recipe, CPU).batch(draws)
    assert torch.equal(batch, one_by_one(images, draws, recipe))


@pytest.mark.parametrize(("degrees", "turns"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, -1)])
def test_quarter_turns_lose_nothing(degrees: float, turns: int) -> None:
    images = pictures().permute(0, 2, 3, 1)
    turned = rotate(images, torch.full((30,), degrees))
    assert torch.equal(turned, torch.rot90(images, turns, (1, 2)))
