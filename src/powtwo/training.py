"""Training: images in, the best network and the history of its epochs out.

Whatever is measured on a whole set of images is measured in float32, as the network is exported,
and without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from powtwo import schedules
from powtwo.augment import TrainingImages
from powtwo.datasets import Dataset
from powtwo.history import Best, Epoch, Measure
from powtwo.normalization import Normalization
from powtwo.params import Train
from powtwo.trainer import Trainer

EVALUATION_BATCH = 500  # images at a time, for memory alone


class TrainingError(ArithmeticError):
    """The loss is no longer a number."""


class Fit(NamedTuple):
    """What training found."""

    history: list[Epoch]
    best_epoch: int
    weights: dict[str, Tensor]  # state of the best epoch, which the network now has


def fit(
    network: nn.Sequential,
    dataset: Dataset,
    normalization: Normalization,
    recipe: Train,
    *,
    seed: int,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Fit:
    """Train `network` in place and leave the weights of its best epoch in it.

    An epoch is as many whole batches as the training images fill; the few that are left over are
    others each time. `seed` draws order and augmentation; the weights are those that came in.

    Raises:
        TrainingError: where a loss is NaN or infinite, naming its epoch and step.
        ValueError: where `recipe.device` is a GPU and there is none.
    """
    trainer = Trainer(network, recipe)
    images = TrainingImages(torch.from_numpy(dataset.x_train), recipe.augment, trainer.device)
    labels, x_validation, y_validation = (
        torch.from_numpy(array).to(trainer.device)
        for array in (dataset.y_train, dataset.x_validation, dataset.y_validation)
    )
    batch_size = min(recipe.batch_size, len(labels))
    steps = len(labels) // batch_size
    rates = schedules.rates(recipe, steps)
    generator = torch.Generator().manual_seed(seed)

    best, history = Best(), []
    for epoch in range(1, recipe.epochs + 1):
        used = rates[(epoch - 1) * steps : epoch * steps]
        draws = tqdm(
            images.draw(steps, batch_size, generator),
            desc=f"epoch {epoch}/{recipe.epochs}",
            leave=False,
            disable=None,  # where there is no terminal
        )
        batches = ((normalization(images.batch(drawn)), labels[drawn.rows]) for drawn in draws)
        train = _train_epoch(trainer, batches, used, epoch)
        validation = evaluate(trainer.network, x_validation, y_validation, normalization)
        losses = (train.loss, validation.loss)
        row = Epoch(epoch, used[-1], *losses, train.accuracy, validation.accuracy)
        history.append(row)
        best.see(row, trainer.network)
        if on_epoch is not None:
            on_epoch(row)
        if recipe.patience and best.waited >= recipe.patience:
            break
    trainer.network.load_state_dict(best.weights)
    return Fit(history, best.epoch, best.weights)


@torch.inference_mode()
def evaluate(
    network: nn.Sequential,
    pixels: Tensor,
    labels: Tensor,
    normalization: Normalization,
    batch_size: int = EVALUATION_BATCH,
) -> Measure:
    """Measure a network on uint8 images (N, C, H, W) with labels (N,), all on its device."""
    network.eval()
    total = torch.zeros(2, dtype=torch.float64, device=labels.device)  # loss, images right
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        x = pixels[batch].contiguous(memory_format=torch.channels_last)
        logits = network(normalization(x))  # (N, classes)
        loss = F.cross_entropy(logits.double(), labels[batch], reduction="sum")
        total += torch.stack([loss, (logits.argmax(1) == labels[batch]).sum()])
    loss, accuracy = (total / len(labels)).tolist()
    return Measure(loss, accuracy)


def _train_epoch(
    trainer: Trainer, batches: Iterable[tuple[Tensor, Tensor]], rates: Sequence[float], epoch: int
) -> Measure:
    """Take a step for each rate; only after the last is anything read back from the device."""
    trainer.network.train()
    log, seen = [], 0
    for (x, labels), rate in zip(batches, rates, strict=True):
        log.append(trainer.step(x, labels, rate))
        seen += len(labels)
    minimized, plain, right = torch.stack(log).double().cpu().unbind(1)
    _check_finite(minimized.tolist(), epoch)
    return Measure(plain.mean().item(), right.sum().item() / seen)


def _check_finite(losses: Sequence[float], epoch: int) -> None:
    for step, loss in enumerate(losses, start=1):
        if not abs(loss) < float("inf"):  # false for NaN as well
            raise TrainingError(
                f"loss = {loss} at epoch {epoch}, step {step}: must be finite; "
                "lower train.learning_rate"
            )
