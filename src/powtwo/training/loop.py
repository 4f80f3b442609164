"""Training: images in, the best network and the history of its epochs out.

Within an epoch nothing is read back from the device; on several GPUs, PyTorch's SyncBatchNorm does
so by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.training import devices, schedules
from powtwo.training.augment import TrainingImages
from powtwo.training.checkpoints import Checkpoints, State
from powtwo.training.draws import AugmentParams, AugmentSampler
from powtwo.training.history import Best, Epoch, Measure
from powtwo.training.measuring import BATCH, evaluate
from powtwo.training.params import Train
from powtwo.training.processes import ALONE, Group
from powtwo.training.trainer import Trainer


class TrainingError(ArithmeticError):
    """The loss is no longer a number."""


class Fit(NamedTuple):
    """What training found."""

    history: list[Epoch]
    best_epoch: int
    weights: dict[str, Tensor]  # state of the best epoch, which the network now has
    earlier: float  # seconds of the epochs that a run before made, from whose checkpoint it went on


def fit(
    network: nn.Sequential,
    dataset: Dataset,
    normalization: Normalization,
    recipe: Train,
    *,
    seed: int,
    on_epoch: Callable[[Sequence[Epoch]], None] | None = None,
    on_resume: Callable[[Sequence[Epoch]], None] | None = None,
    checkpoints: Checkpoints | None = None,
    group: Group = ALONE,
) -> Fit:
    """Train `network` in place and leave the weights of its best epoch in it.

    An epoch is as many whole batches as the training images fill; the few that are left over are
    others each time. `seed` draws order and augmentation; the weights are those that came in.
    `checkpoints` keep where the run stands. `on_resume` gets the history that one of them had,
    `on_epoch` the history after each epoch.

    Raises:
        TrainingError: where a loss is NaN or infinite, naming its epoch and step.
        ValueError: where `recipe.device` is a GPU and there is none, a step does not fit into
            memory, or the processes of `group` cannot share a batch.
    """
    started, earlier = time.perf_counter(), 0.0
    if checkpoints:  # before anything is made that must be alike in all processes
        checkpoints.check_equal(devices.prepare(recipe.device, group.local))
    with devices.memory_for("all images at once"):
        run = Run(network, dataset, normalization, recipe, seed=seed, group=group)
    if checkpoints and (state := checkpoints.read(run.trainer.device)):
        run.restore(state)
        earlier = state["seconds"]
        if on_resume is not None:
            on_resume(run.history)
    while not run.ended:
        run.epoch()
        if checkpoints:
            spent = earlier + time.perf_counter() - started
            checkpoints.write(run.state() | {"seconds": spent})
        if on_epoch is not None:
            on_epoch(run.history)
    network.load_state_dict(run.best.weights)
    return Fit(run.history, run.best.epoch, run.best.weights, earlier)


class Run:
    """A network in training, with all that its next epoch depends on."""

    def __init__(
        self,
        network: nn.Sequential,
        dataset: Dataset,
        normalization: Normalization,
        recipe: Train,
        *,
        seed: int,
        group: Group,
    ) -> None:
        """Put network and images on the device; see `fit`."""
        self.trainer = Trainer(network, recipe, group)
        device, images = self.trainer.device, torch.from_numpy(dataset.x_train)
        self.history: list[Epoch] = []
        self.best = Best()
        self.batch_size = min(recipe.batch_size, len(images))
        self._steps = len(images) // self.batch_size
        self._images = TrainingImages(images, recipe.augment, device)
        self._chance = AugmentSampler(len(images), recipe.augment, seed)
        self._labels, self._x, self._y = (
            torch.from_numpy(array).to(device)
            for array in (dataset.y_train, dataset.x_validation, dataset.y_validation)
        )
        self._normalization, self._recipe, self._group = normalization, recipe, group

    @property
    def ended(self) -> bool:
        """Whether all epochs have run, or too many of them without a better one."""
        waited = self._recipe.patience and self.best.waited >= self._recipe.patience
        return bool(waited) or len(self.history) == self._recipe.epochs

    def epoch(self) -> None:
        """Train for one epoch, and judge it on the validation images."""
        number = len(self.history) + 1
        losses = [row.validation_loss for row in self.history]
        rates = schedules.rates(self._recipe, self._steps, losses)
        train = devices.within_memory(
            lambda: self._train(number, rates), self.attempt, self.batch_size, self._group.size
        )
        self._group.average(self.trainer.statistics())
        judged = self._judge(number)
        measures = (train.loss, judged.loss, train.accuracy, judged.accuracy)
        row = Epoch(number, rates[-1], *measures)
        self.history.append(row)
        self.best.see(row, self.trainer.eval_model)

    def attempt(self, images: int) -> None:
        """Do what a step of so many images, of all processes together, needs memory for."""
        self.trainer.attempt(images // self._group.size)

    def state(self) -> State:
        """Return all that changes while training, as tensors and plain values."""
        return {
            "trainer": self.trainer.state(),
            "chance": self._chance.state(),
            "history": [tuple(row) for row in self.history],
            "best": vars(self.best),
        }

    def restore(self, state: State) -> None:
        """Go on from what `state` returned."""
        self.trainer.restore(state["trainer"])
        self._chance.restore(state["chance"])
        self.history = [Epoch(*row) for row in state["history"]]
        self.best = Best(**state["best"])

    def _train(self, number: int, rates: Sequence[float]) -> Measure:
        """Take a step for each rate; only after the last is anything read back from the device."""
        share = self._group.share(self.batch_size)
        draws = self._chance.epoch(number, self._steps, self.batch_size)
        steps = tqdm(
            draws.steps(self.trainer.device, share),
            desc=f"epoch {number}/{self._recipe.epochs}",
            leave=False,
            disable=True if self._group.rank else None,  # None: where there is no terminal
        )
        self.trainer.network.train()
        log = torch.stack([
            self.trainer.step(*self._batch(drawn), rate)
            for drawn, rate in zip(steps, rates, strict=True)
        ])  # fmt: skip
        self._group.average([log])
        minimized, plain, right = log.double().cpu().unbind(1)
        _check_finite(minimized.tolist(), number)
        return Measure(
            plain.mean().item(), right.sum().item() / (share.stop - share.start) / len(log)
        )

    def _batch(self, drawn: AugmentParams) -> tuple[Tensor, Tensor]:
        return self._normalization(self._images.batch(drawn)), self._labels[drawn.rows]

    def _judge(self, number: int) -> Measure:
        """Measure on the validation images; process 0's word holds, lest others round otherwise."""
        with devices.memory_for(f"{BATCH} validation images at a time"):
            measure = evaluate(self.trainer.eval_model, self._x, self._y, self._normalization)
        if self._group.size > 1:
            said = torch.tensor(measure, dtype=torch.float64, device=self.trainer.device)
            measure = Measure(*self._group.agree(said).tolist())
        _check_finite([measure.loss], number, self._steps)
        return measure


def _check_finite(losses: Sequence[float], epoch: int, first: int = 1) -> None:
    for step, loss in enumerate(losses, start=first):
        if not abs(loss) < float("inf"):  # false for NaN as well
            raise TrainingError(
                f"loss = {loss} at epoch {epoch}, step {step}: must be finite; "
                "lower train.learning_rate"
            )
