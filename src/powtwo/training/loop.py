"""Training: images in, the best network and the history of its epochs out.

Within an epoch nothing is read back from the device; on several GPUs, PyTorch's SyncBatchNorm does
so by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.training.augment import TrainingImages
from powtwo.training.checkpoints import Checkpoints, State
from powtwo.training.draws import AugmentParams, AugmentSampler
from powtwo.training.graph import StaticSteps, capture_steps
from powtwo.training.history import Best, Epoch, Measure, evaluate, weights_of
from powtwo.training.learning_rate import learning_rates
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS, Group
from powtwo.training.steps import EagerSteps
from powtwo.training.trainer import Trainer

# Between two checkpoints: on a GPU, writing one takes as long as half an epoch.
CHECKPOINT_SECONDS = {"cpu": 0.0, "cuda": 5.0}


class TrainingError(ArithmeticError):
    """The loss is no longer a number."""


class Fit(NamedTuple):
    """The result of a training."""

    history: list[Epoch]
    best_epoch: int
    weights: dict[str, Tensor]  # state of the best epoch, which the network now has
    earlier_seconds: float  # of the epochs before the checkpoint that the run resumed from
    steps: str  # how they were taken: eager, captured, or captured and compiled


def fit(
    network: nn.Module,
    dataset: Dataset,
    normalization: Normalization,
    recipe: Train,
    *,
    seed: int,
    on_epoch: Callable[[Sequence[Epoch]], None] | None = None,
    on_resume: Callable[[Sequence[Epoch]], None] | None = None,
    checkpoints: Checkpoints | None = None,
    group: Group = SINGLE_PROCESS,
) -> Fit:
    """Train `network` in place and leave the weights of its best epoch in it.

    An epoch is as many whole batches as the training images fill; the few that are left over are
    others each time. `seed` draws order and augmentation; the weights are those that came in.
    `checkpoints` keep where the run stands. `on_resume` gets the history that one of them had,
    `on_epoch` the history after each epoch.

    Raises:
        TrainingError: where a loss is NaN or infinite, naming its epoch and step.
        ValueError: where `recipe.device` is a GPU and there is none, or the processes of
            `group` differ or cannot share a batch.
    """
    return complete(
        lambda: TrainingRun(network, dataset, normalization, recipe, seed=seed, group=group),
        on_epoch=on_epoch, on_resume=on_resume, checkpoints=checkpoints,
    )  # fmt: skip


def complete(
    make: Callable[[], TrainingRun],
    *,
    on_epoch: Callable[[Sequence[Epoch]], None] | None = None,
    on_resume: Callable[[Sequence[Epoch]], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> Fit:
    """Make a run and train to its end, from its checkpoint on where it has one; see `fit`."""
    started, earlier_seconds = time.perf_counter(), 0.0
    if checkpoints:  # before anything is made that must be alike in all processes
        checkpoints.check_equal()
    run = make()
    if checkpoints and (state := checkpoints.read()):
        run.restore(state)
        earlier_seconds = state["seconds"]
        if on_resume is not None:
            on_resume(run.history)
    due = started
    while not run.ended:
        run.epoch()
        now = time.perf_counter()
        if checkpoints and (now >= due or run.ended):
            checkpoints.write(run.state() | {"seconds": earlier_seconds + now - started})
            due = now + CHECKPOINT_SECONDS[run.trainer.device.type]
        if on_epoch is not None:
            on_epoch(run.history)
    weights = run.best.weights or weights_of(run.trainer.network)  # of no epoch
    run.trainer.network.load_state_dict(weights)
    return Fit(run.history, run.best.epoch, weights, earlier_seconds, run.steps_kind)


class TrainingRun:
    """A network in training, with all that its next epoch depends on."""

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset,
        normalization: Normalization,
        recipe: Train,
        *,
        seed: int,
        group: Group = SINGLE_PROCESS,
    ) -> None:
        """Put network and images on the device; see `fit`."""
        self.trainer = self._make_trainer(network, recipe, group)
        device, images = self.trainer.device, torch.from_numpy(dataset.x_train)
        self.history: list[Epoch] = []
        self.best = Best()
        self._batch_size = min(recipe.batch_size, len(images))
        group.share(self._batch_size)  # or refuses
        self._steps = len(images) // self._batch_size
        self._images = TrainingImages(images, recipe.augment, device)
        self._sampler = AugmentSampler(tuple(images.shape), recipe.augment, seed)
        self._labels, self._x, self._y = (
            torch.from_numpy(array).to(device)
            for array in (dataset.y_train, dataset.x_validation, dataset.y_validation)
        )
        self._normalization, self._recipe, self._group = normalization, recipe, group
        self._take_steps: StaticSteps | EagerSteps | None = None

    @property
    def ended(self) -> bool:
        """Whether all epochs have run, or `train.patience` of them without a better one."""
        patience = self._recipe.patience or math.inf
        out_of_patience = self.best.epochs_without_improvement >= patience
        return out_of_patience or len(self.history) == self._recipe.epochs

    @property
    def steps_kind(self) -> str:
        """Return how the steps were taken; none were where a run had ended before."""
        return self._take_steps.kind if self._take_steps else "none"

    def epoch(self) -> None:
        """Train for one epoch, and evaluate it on the validation images."""
        number = len(self.history) + 1
        losses = [row.validation_loss for row in self.history]
        rates = learning_rates(self._recipe, self._steps, losses)
        train = self._train(number, rates)
        self._group.average(self.trainer.batch_norm_statistics())
        validation = self._validate(number)
        measures = (train.loss, validation.loss, train.accuracy, validation.accuracy)
        row = Epoch(number, rates[-1], *measures)
        self.history.append(row)
        self.best.update(row, self.trainer.eval_model)

    def state(self) -> State:
        """Return all that changes while training, as tensors and plain values."""
        return {
            "trainer": self.trainer.state(),
            "sampler": self._sampler.state(),
            "history": [tuple(row) for row in self.history],
            "best": vars(self.best),
        }

    def restore(self, state: State) -> None:
        """Resume from what `state` returned."""
        self.trainer.restore(state["trainer"])
        self._take_steps = None  # what was captured is of other tensors
        self._sampler.restore(state["sampler"])
        self.history = [Epoch(*row) for row in state["history"]]
        self.best = Best(**state["best"])

    def _make_trainer(self, network: nn.Module, recipe: Train, group: Group) -> Trainer:
        return Trainer(network, recipe, group)

    def _train(self, number: int, rates: Sequence[float]) -> Measure:
        """Take a step for each rate; only after the last is anything read back from the device."""
        draws = self._sampler.epoch(number, self._steps, self._batch_size)
        self.trainer.network.train()
        if self._take_steps is None:
            self._take_steps = self._choose_steps(draws)
        log = self._take_steps(draws, rates, f"epoch {number}/{self._recipe.epochs}")
        self._group.average([log])
        minimized, plain, correct = log.double().cpu().unbind(1)
        _check_finite(minimized.tolist(), number)
        images = len(log) * self._batch_size // self._group.size
        return Measure(plain.mean().item(), correct.sum().item() / images)

    def _choose_steps(self, draws: AugmentParams) -> StaticSteps | EagerSteps:
        """Return captured steps on one GPU that can capture them, else eager ones."""
        parts = (self.trainer, self._images, self._labels, self._normalization)
        if self.trainer.device.type == "cuda" and self._group.size == 1:
            static = StaticSteps(*parts)
            if capture_steps(static, self.trainer, draws, self._recipe.epochs * self._steps):
                return static
        return EagerSteps(*parts, self._group)

    def _validate(self, number: int) -> Measure:
        """Evaluate on the validation images; the result of process 0 holds for all."""
        measure = self._group.broadcast(self._measure())
        _check_finite([measure.loss], number, self._steps)
        return measure

    def _measure(self) -> Measure:
        return evaluate(self.trainer.eval_model, self._x, self._y, self._normalization)


def _check_finite(losses: Sequence[float], epoch: int, first_step: int = 1) -> None:
    for step, loss in enumerate(losses, start=first_step):
        if not math.isfinite(loss):
            raise TrainingError(
                f"loss = {loss} at epoch {epoch}, step {step}: must be finite; "
                "lower train.learning_rate"
            )
