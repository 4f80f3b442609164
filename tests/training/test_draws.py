"""What sampler decides: uniform, independent, the same for the same seed, and resumable."""

from __future__ import annotations

import itertools

import pytest
import torch
from training_runs import ALL_ON, augment

from powtwo.tools import torchvision_import
from powtwo.training.draws import AugmentParams, AugmentSampler

CPU = torch.device("cpu")


def drawn(count: int, seed: int = 3, epoch: int = 1, **changes: object) -> AugmentParams:
    (step,) = (
        AugmentSampler((count, 3, 32, 32), augment(**changes), seed)
        .epoch(epoch, 1, count)
        .steps(CPU)
    )
    return step


def equal(first: AugmentParams, second: AugmentParams) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_epoch_shows_no_image_twice_and_is_that_of_its_seed() -> None:
    samplers = [AugmentSampler((30, 3, 32, 32), augment(**ALL_ON), seed) for seed in (0, 0, 1)]
    first, again, other = (sampler.epoch(1, 4, 7) for sampler in samplers)
    rows = first.rows.flatten().tolist()
    assert len(set(rows)) == 28
    assert set(rows) <= set(range(30))
    assert equal(first, again)
    for different in (other, samplers[0].epoch(2, 4, 7)):
        assert not any(torch.equal(a, b) for a, b in zip(first, different, strict=True))


def test_crop_and_flip_are_uniform_and_independent() -> None:
    draws = drawn(20_000, crop=2, flip="random")
    cells = torch.stack([draws.tops, draws.lefts, draws.mirrored.long()])
    combinations, counts = cells.unique(dim=1, return_counts=True)
    assert combinations.shape[1] == 5 * 5 * 2
    assert ((counts - 400).abs() < 6 * 20).all()  # 20 is the standard deviation
    assert abs(int(draws.mirrored.sum()) - 10_000) < 5 * 71


def test_switching_augmentation_off_keeps_the_order_of_images() -> None:
    assert torch.equal(drawn(30).rows, drawn(30, **ALL_ON).rows)
    assert not drawn(30).mirrored.any()


def test_alternating_flips_change_every_image_every_epoch() -> None:
    sampler = AugmentSampler((1_000, 3, 32, 32), augment(flip="alternating"), 0)
    sides = []
    for number in range(1, 5):
        draws = sampler.epoch(number, 1, 1_000)
        sides.append(torch.zeros(1_000, dtype=torch.bool))
        sides[-1][draws.rows[0]] = draws.mirrored[0]
    assert abs(int(sides[0].sum()) - 500) < 5 * 16
    assert all(torch.equal(a, ~b) for a, b in itertools.pairwise(sides))


def test_no_two_draws_of_an_image_or_its_neighbors_are_related() -> None:
    """Two generators of one stream would relate what one draws to what the other does."""
    count = 20_000
    draws = drawn(count, crop=4, flip="random", rotation=15.0, erasing=1.0, cutout=8)
    top, bottom, left, right = draws.holes.unbind(2)
    area = (bottom - top) * (right - left)
    of_order = [draws.tops, draws.lefts, draws.mirrored, draws.rows]
    of_holes = [draws.angles, area[:, 0], top[:, 0], left[:, 0], top[:, 1], left[:, 1]]
    for one in of_order:
        for other in of_holes:
            for lag in range(-8, 9):
                pair = torch.stack([one.double(), other.double().roll(lag)])
                assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / count**0.5


def test_angles_are_uniform() -> None:
    angles = drawn(20_000, rotation=15.0).angles
    counts = angles.histc(10, -15.0, 15.0)
    assert counts.sum() == 20_000
    assert ((counts - 2_000).abs() < 5 * 43).all()


def test_rectangles_are_distributed_as_torchvisions() -> None:
    torchvision_import.import_torchvision()
    from torchvision.transforms import RandomErasing

    torch.manual_seed(0)
    image, scale = torch.zeros(3, 32, 32), [0.05, 0.29]
    theirs = torch.tensor([
        RandomErasing.get_params(image, scale, [0.3, 3.3], [0.0])[:4] for _ in range(10_000)
    ]).double()  # fmt: skip
    top, bottom, left, right = drawn(10_000, erasing=1.0, erasing_scale=scale).holes[:, 0].T
    ours = torch.stack([top, left, bottom - top, right - left], dim=1).double()
    assert ours.min() >= 0
    assert max(bottom.max(), right.max()) <= 32
    for power in (1, 2):  # means and spreads agree within five standard errors
        a, b = ours**power, theirs**power
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 5 * error).all()
    assert ours.amax(0).tolist() == pytest.approx(theirs.amax(0).tolist(), abs=1)


def test_erasing_happens_as_often_as_it_says() -> None:
    holes = drawn(10_000, erasing=0.3).holes[:, 0]
    assert abs(int((holes[:, 1] > holes[:, 0]).sum()) - 3_000) < 5 * 46
    assert not drawn(1_000, erasing=0.0).holes[:, 0].diff()[:, [0, 2]].any()


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_squares_are_cut_out_around_every_pixel(size: int) -> None:
    top, bottom, left, right = drawn(20_000, cutout=size).holes[:, 1].T
    for first, end in ((top, bottom), (left, right)):
        starts = torch.arange(32) - size // 2
        possible = {(max(0, s), min(32, s + size)) for s in starts.tolist()}
        assert set(zip(first.tolist(), end.tolist(), strict=True)) == possible


def test_rectangles_and_squares_fit_images_that_are_no_squares() -> None:
    recipe = augment(erasing=1.0, erasing_scale=[0.29, 0.29], cutout=9)
    epoch = AugmentSampler((20_000, 1, 28, 45), recipe, 0).epoch(1, 1, 20_000)
    top, bottom, left, right = epoch.holes[0].unbind(2)  # (N, 2): erased, cut out
    for first, end, side in ((top, bottom, 28), (left, right, 45)):
        assert (first.amin(0).tolist(), end.amax(0).tolist()) == ([0, 0], [side, side])
    area = ((bottom - top) * (right - left))[:, 0].double()
    assert area.mean().item() == pytest.approx(0.29 * 28 * 45, rel=0.01)
    # 9 pixels a side: four before the middle, the middle, four behind it.
    ends = set(zip(bottom[:, 1].tolist(), right[:, 1].tolist(), strict=True))
    assert ends == {(min(y + 5, 28), min(x + 5, 45)) for y in range(28) for x in range(45)}


def test_shares_of_a_batch_make_the_batch() -> None:
    epoch = AugmentSampler((40, 3, 32, 32), augment(**ALL_ON), 0).epoch(1, 4, 10)
    whole = epoch.steps(CPU)
    halves = [epoch.steps(CPU, slice(first, first + 5)) for first in (0, 5)]
    for step, (draws, *parts) in enumerate(zip(whole, *halves, strict=True)):
        joined = AugmentParams(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
        assert equal(draws, joined), step


def test_a_restored_state_draws_on() -> None:
    sampler, other = (AugmentSampler((30, 3, 32, 32), augment(**ALL_ON), 0) for _ in range(2))
    sampler.epoch(1, 3, 10)
    other.restore(sampler.state())
    assert equal(other.epoch(2, 3, 10), sampler.epoch(2, 3, 10))
