"""The learning-rate schedules: one-cycle, cosine and plateau, as `train.schedule` names them.

A rate is a function of the recipe, the epoch and the losses before. No schedule has a state of its
own, so a run that resumes from a checkpoint needs none.

Sources:
1. One-cycle: Smith and Topin 2018, https://arxiv.org/abs/1708.07120; the form with two cosines is
   that of PyTorch's `OneCycleLR`
2. Cosine: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts
3. Plateau: PyTorch's `ReduceLROnPlateau` on the validation loss, with factor and patience of the
   lab and the other values that PyTorch has by default
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from powtwo.training.params import Train

ONE_CYCLE_START = 1 / 25  # of the highest rate, as in PyTorch
PLATEAU_FACTOR = 0.5  # of the rate, once the loss has not fallen; the lab's
PLATEAU_PATIENCE = 2  # epochs without a lower loss before it is lowered; the lab's
PLATEAU_THRESHOLD = 1e-4  # fraction by which a loss must be lower to count
PLATEAU_LEAST_CHANGE = 1e-8  # a smaller step down is not taken


def learning_rates(recipe: Train, steps: int, losses: Sequence[float]) -> list[float]:
    """Return the learning rate of each of an epoch's `steps`.

    Args:
        recipe: its schedule, highest and final rate, warm-up and epochs.
        steps: of every epoch.
        losses: validation losses (nats) of the epochs before, none before the first.
    """
    epoch = len(losses)  # from 0
    if recipe.schedule == "cosine":
        # One rate an epoch, as the lab stepped its scheduler; the final one would be that of the
        # epoch after the last.
        fraction = epoch / recipe.epochs
        return [_between(recipe.learning_rate, recipe.final_learning_rate, fraction)] * steps
    if recipe.schedule == "plateau":
        return [_plateau(recipe, losses)] * steps
    total = recipe.epochs * steps
    return [_one_cycle(recipe, step, total) for step in range(epoch * steps, (epoch + 1) * steps)]


def _plateau(recipe: Train, losses: Sequence[float]) -> float:
    """Halve the rate whenever the loss has not fallen for longer than the patience."""
    rate, lowest_loss, epochs_without_improvement = recipe.learning_rate, math.inf, 0
    for loss in losses:
        epochs_without_improvement += 1
        if loss < lowest_loss * (1 - PLATEAU_THRESHOLD):
            lowest_loss, epochs_without_improvement = loss, 0
        if epochs_without_improvement > PLATEAU_PATIENCE:
            lower = max(rate * PLATEAU_FACTOR, recipe.final_learning_rate)
            rate = lower if rate - lower > PLATEAU_LEAST_CHANGE else rate
            epochs_without_improvement = 0
    return rate


def _one_cycle(recipe: Train, step: int, total: int) -> float:
    """Rise to the highest rate during the warm-up, then descend to the final one."""
    peak = max(recipe.warmup * total - 1, 0.0)  # the step, rarely a whole one, of the highest rate
    if step < peak:
        return _between(recipe.learning_rate * ONE_CYCLE_START, recipe.learning_rate, step / peak)
    descended = (step - peak) / max(total - 1 - peak, 1.0)
    return _between(recipe.learning_rate, recipe.final_learning_rate, descended)


def _between(start: float, end: float, fraction: float) -> float:
    """Go from `start` to `end` along half a cosine wave."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
