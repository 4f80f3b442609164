"""Batches of crops and flips against torchvision's transforms, image by image."""

from __future__ import annotations

import itertools

import pytest
import torch

from powtwo import vision
from powtwo.augment import Draws, TrainingImages, pad, windows
from powtwo.params import Augment

CPU = torch.device("cpu")


def pictures(count: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)


def one_by_one(images: torch.Tensor, draws: Draws, margin: int, flip: bool) -> torch.Tensor:
    """Apply torchvision's functional transforms with the same draws."""
    vision.import_torchvision()
    from torchvision.transforms import functional

    made = []
    for row, top, left, mirrored in zip(*(d.tolist() for d in draws), strict=True):
        image = functional.crop(functional.pad(images[row], [margin]), top, left, 32, 32)
        made.append(functional.hflip(image) if mirrored and flip else image)
    return torch.stack(made)


@pytest.mark.parametrize("margin", [0, 2, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_is_what_torchvision_makes_of_each_image(margin: int, flip: bool) -> None:
    images = pictures()
    source = TrainingImages(images, Augment(crop=margin, flip=flip), CPU)
    for draws in source.draw(3, 10, torch.Generator().manual_seed(5)):
        batch = source.batch(draws)
        assert batch.dtype == torch.uint8
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, one_by_one(images, draws, margin, flip))


def test_every_window_of_every_image() -> None:
    images = pictures(2)
    view = windows(pad(images, 1), 32)
    assert view.shape == (2, 3, 3, 32, 32, 3)
    for row, top, left in itertools.product(range(2), range(3), range(3)):
        draw = Draws(*(torch.tensor([v]) for v in (row, top, left)), torch.tensor([False]))
        (expected,) = one_by_one(images, draw, 1, False)
        assert torch.equal(view[row, top, left].permute(2, 0, 1), expected)


def test_an_epoch_shows_no_image_twice() -> None:
    source = TrainingImages(pictures(), Augment(crop=0, flip=False), CPU)
    epochs = [source.draw(4, 7, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    first, again, other = (torch.cat([step.rows for step in epoch]).tolist() for epoch in epochs)
    assert len(set(first)) == 28
    assert set(first) <= set(range(30))
    assert first == again != other


def test_draws_are_uniform_and_independent() -> None:
    source = TrainingImages(pictures(20_000), Augment(crop=2, flip=True), CPU)
    (draws,) = source.draw(1, 20_000, torch.Generator().manual_seed(3))
    cells = torch.stack([draws.tops, draws.lefts, draws.mirrored.long()])
    combinations, counts = cells.unique(dim=1, return_counts=True)
    assert combinations.shape[1] == 5 * 5 * 2
    assert ((counts - 400).abs() < 6 * 20).all()  # 20 is the standard deviation
    assert abs(int(draws.mirrored.sum()) - 10_000) < 5 * 71


def test_switching_augmentation_off_keeps_the_order_of_images() -> None:
    orders = []
    for augment in (Augment(crop=4, flip=True), Augment(crop=0, flip=False)):
        (draws,) = TrainingImages(pictures(), augment, CPU).draw(
            1, 30, torch.Generator().manual_seed(9)
        )
        orders.append(draws.rows)
    assert torch.equal(*orders)
