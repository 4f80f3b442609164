"""Learning rates of a whole run, one for each step, in closed form.

Sources:
1. One-cycle: Smith and Topin 2018, https://arxiv.org/abs/1708.07120; the form with two cosines is
   that of PyTorch's `OneCycleLR`
2. Cosine: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts
"""

from __future__ import annotations

import math

from powtwo.params import Train

ONE_CYCLE_START = 1 / 25  # of the highest rate, as in PyTorch


def rates(recipe: Train, steps: int) -> list[float]:
    """Return the rate of each of `recipe.epochs` · `steps` steps, `steps` being those an epoch."""
    total = recipe.epochs * steps
    if recipe.schedule == "cosine":
        # One rate an epoch, as the lab stepped its scheduler.
        return [_cosine(recipe, epoch) for epoch in range(recipe.epochs) for _ in range(steps)]
    return [_one_cycle(recipe, step, total) for step in range(total)]


def _cosine(recipe: Train, epoch: int) -> float:
    """Descend from the highest rate; the final one would be that of the epoch after the last."""
    return _between(recipe.learning_rate, recipe.final_learning_rate, epoch / recipe.epochs)


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
