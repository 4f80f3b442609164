"""The learning-rate schedules against PyTorch's own schedulers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_runs import all_rates, recipe

from powtwo.training.learning_rate import learning_rates


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.55])
def test_one_cycle_is_pytorchs(warmup: float) -> None:
    rates = all_rates(recipe(epochs=4, warmup=warmup, learning_rate=0.3), 11)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.3,
        total_steps=44,
        pct_start=warmup,
        cycle_momentum=False,
        final_div_factor=0.3 / 25 / 1e-6,
    )
    expected = []
    for _ in range(44):
        expected += scheduler.get_last_lr()
        optimizer.step()
        if len(expected) < 44:
            scheduler.step()
    np.testing.assert_allclose(rates, expected, rtol=1e-9)


def test_cosine_is_pytorchs_stepped_by_epoch() -> None:
    rates = all_rates(recipe(epochs=7, schedule="cosine", learning_rate=0.1), 3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=1e-6)
    for epoch in range(7):
        np.testing.assert_allclose(rates[3 * epoch : 3 * epoch + 3], scheduler.get_last_lr() * 3)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(1, 1, 0.3), (1, 2, 0.9), (2, 3, 0.0)])
def test_one_cycle_of_few_steps_stays_between_its_ends(
    epochs: int, steps: int, warmup: float
) -> None:
    rates = all_rates(recipe(epochs=epochs, warmup=warmup), steps)
    assert len(rates) == epochs * steps
    assert all(1e-6 <= rate <= 0.05 for rate in rates)
    if warmup == 0:
        assert rates[0] == 0.05
        assert rates[-1] == pytest.approx(1e-6)


@pytest.mark.parametrize("lowest", [0.0, 0.03])
def test_plateau_is_pytorchs(lowest: float) -> None:
    losses = [2.0, 1.0, 1.0, 0.99995, 1.2, 0.9, 0.9, 0.9, 0.8999, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5]
    rates = recipe(schedule="plateau", learning_rate=0.1, final_learning_rate=lowest)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, min_lr=lowest
    )
    expected = []
    for epoch, loss in enumerate(losses):
        expected.append(optimizer.param_groups[0]["lr"])
        assert learning_rates(rates, 2, losses[:epoch]) == [expected[-1]] * 2
        scheduler.step(loss)
    assert set(expected) == {0.1, 0.05, max(0.025, lowest)}


def test_a_plateau_ends_where_a_step_down_is_too_small() -> None:
    rates = recipe(schedule="plateau", learning_rate=3e-8, final_learning_rate=0.0)
    assert learning_rates(rates, 1, [1.0] * 50) == [1.5e-8]
