"""Training as a whole: the best epoch, early stopping, errors, the same bytes each time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn
from training_runs import DYADIC, SMALL, STATEFUL, all_rates, fit, recipe

from powtwo.dataset.images import Dataset
from powtwo.training import loop
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.history import Best, Epoch, Measure, evaluate
from powtwo.training.loop import TrainingError
from powtwo.training.trainer import Trainer


@pytest.mark.parametrize("batch_size", [1, 7, 20, 500])
def test_evaluate_against_numpy(dataset: Dataset, batch_size: int) -> None:
    torch.manual_seed(1)
    network = SMALL.build().train()
    x, y = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure = evaluate(network, x, y, DYADIC, batch_size)
    with torch.no_grad():
        logits = network.eval()(DYADIC(x)).double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert measure.loss == pytest.approx(-log_p[np.arange(20), dataset.y_test].mean(), rel=1e-5)
    assert measure.accuracy == (logits.argmax(1) == dataset.y_test).mean()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# The best epoch and early stopping


@pytest.fixture
def _stubbed(
    monkeypatch: pytest.MonkeyPatch, measures: tuple[Sequence[float], Sequence[float]]
) -> None:
    """Have the validations of a run give these accuracies and losses, epoch by epoch."""
    rows = iter([Measure(loss, accuracy) for accuracy, loss in zip(*measures, strict=True)])
    monkeypatch.setattr(loop, "evaluate", lambda *_: next(rows))


EQUAL = [1.0] * 5  # losses


@pytest.mark.parametrize(
    ("patience", "measures", "epochs", "best"),
    [
        (2, ([0.5, 0.6, 0.6, 0.6, 0.9], EQUAL), 4, 2),  # an equal accuracy is not a better one
        (2, ([0.5, 0.4, 0.6, 0.5, 0.7], EQUAL), 5, 5),  # a better one starts the count again
        (1, ([0.5, 0.5, 0.9, 0.9, 0.9], EQUAL), 2, 1),
        (0, ([0.9, 0.1, 0.1, 0.1, 0.1], EQUAL), 5, 1),  # 0 never stops
        (4, ([0.0, 0.0, 0.0, 0.0, 0.0], EQUAL), 5, 1),
        # A lower loss decides between equal accuracies, but earns no patience.
        (2, ([0.5, 0.7, 0.7, 0.7, 0.9], [3.0, 2.0, 1.0, 1.5, 9.0]), 4, 3),
    ],
)
@pytest.mark.usefixtures("_stubbed")
def test_patience(dataset: Dataset, patience: int, epochs: int, best: int) -> None:
    _, result, _ = fit(dataset, epochs=5, patience=patience)
    assert (len(result.history), result.best_epoch) == (epochs, best)


@pytest.mark.usefixtures("_stubbed")
@pytest.mark.parametrize("measures", [([0.5, 0.9, 0.6, 0.7], [1.0] * 4)])
def test_the_best_weights_are_restored(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    kept = []
    update = Best.update

    def spy(self: Best, row: Epoch, network: nn.Module) -> None:
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        update(self, row, network)

    monkeypatch.setattr(Best, "update", spy)
    network, result, _ = fit(dataset, epochs=4)
    assert result.best_epoch == 2
    for state in (result.weights, network.state_dict()):
        assert all(torch.equal(state[name], kept[1][name]) for name in kept[1])
    assert not all(torch.equal(kept[3][name], kept[1][name]) for name in kept[1])


def test_the_average_is_judged_and_kept(dataset: Dataset) -> None:
    _, plain, _ = fit(dataset, epochs=4)
    network, result, seen = fit(dataset, epochs=4, average=0.5)
    assert [row.train_loss for row in seen] == [row.train_loss for row in plain.history]
    assert [row.validation_loss for row in seen] != [row.validation_loss for row in plain.history]
    x, y = torch.from_numpy(dataset.x_validation), torch.from_numpy(dataset.y_validation)
    best = seen[result.best_epoch - 1]
    measure = evaluate(network, x, y, DYADIC)
    assert measure == (best.validation_loss, best.validation_accuracy)


# A whole run


def test_it_learns_and_says_how(dataset: Dataset) -> None:
    network, result, seen = fit(dataset, epochs=8)
    assert result.history == seen
    assert [row.epoch for row in seen] == list(range(1, 9))
    assert [row.learning_rate for row in seen] == all_rates(recipe(epochs=8), 6)[5::6]
    assert seen[-1].train_loss < 0.5 * seen[0].train_loss
    assert max(row.validation_accuracy for row in seen) >= 0.95
    assert all(0 <= row.train_accuracy <= 1 and math.isfinite(row.train_loss) for row in seen)
    x, y = torch.from_numpy(dataset.x_validation), torch.from_numpy(dataset.y_validation)
    best = seen[result.best_epoch - 1]
    assert evaluate(network, x, y, DYADIC) == (best.validation_loss, best.validation_accuracy)


def test_training_values_are_those_of_the_steps(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    steps = []
    step = Trainer.step

    def spy(self: Trainer, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        assert self.network.training
        steps.append((step(self, x, labels, rate).tolist(), rate, x))
        return torch.tensor(steps[-1][0])

    monkeypatch.setattr(Trainer, "step", spy)
    _, result, _ = fit(dataset, epochs=2)
    assert len(steps) == 2 * 6  # 100 images fill 6 batches of 16
    assert [rate for _, rate, _ in steps] == all_rates(recipe(epochs=2), 6)
    assert not torch.equal(steps[0][2], steps[6][2])
    for row, part in zip(result.history, (steps[:6], steps[6:]), strict=True):
        values = np.array([values for values, _, _ in part])
        assert row.train_loss == pytest.approx(values[:, 1].mean())
        assert row.train_accuracy == pytest.approx(values[:, 2].sum() / 96)


def test_fewer_images_than_a_batch(dataset: Dataset) -> None:
    _, result, _ = fit(dataset, epochs=1, batch_size=1000)
    assert math.isfinite(result.history[0].train_loss)


def test_the_same_seed_gives_the_same_bytes(dataset: Dataset) -> None:
    runs = [fit(dataset, seed=seed)[1] for seed in (3, 3, 4)]
    first, again, other = (save(run.weights) for run in runs)
    assert first == again
    assert runs[0].history == runs[1].history
    assert first != other


def test_the_seed_draws_the_images_whatever_else_draws(dataset: Dataset) -> None:
    weights = []
    for noise in (0, 5):
        torch.manual_seed(7)
        network = SMALL.build()
        torch.rand(noise)  # moves the global generator, which must not matter
        weights.append(loop.fit(network, dataset, DYADIC, recipe(), seed=1).weights)
    assert save(weights[0]) == save(weights[1])


@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({}, "nan"),
        (STATEFUL, "inf"),
        (STATEFUL | {"optimizer": "adam", "nesterov": False, "learning_rate": 0.001}, "nan"),
    ],
)
def test_a_loss_that_is_no_number_leaves_the_checkpoint_before(
    monkeypatch: pytest.MonkeyPatch,
    dataset: Dataset,
    tmp_path: Path,
    changes: dict[str, Any],
    loss: str,
) -> None:
    """And the run that resumes from it ends with the same bytes, whatever the optimizer."""
    _, undisturbed, _ = fit(dataset, **changes)
    saved, step = Checkpoints({"a": "b"}, tmp_path), Trainer.step
    with monkeypatch.context() as patched:
        factors = iter([*[1.0] * (2 * 6 + 2), float(loss), *[1.0] * 3])  # epoch 3, step 3
        patched.setattr(Trainer, "step", lambda *args: step(*args) * next(factors))
        with pytest.raises(TrainingError, match=f"loss = {loss} at epoch 3, step 3: .*lower train"):
            fit(dataset, checkpoints=saved, **changes)
    state = saved.read()
    assert state is not None
    assert [row[0] for row in state["history"]] == [1, 2]
    _, resumed, rows = fit(dataset, checkpoints=saved, **changes)
    assert rows == resumed.history == undisturbed.history
    assert save(resumed.weights) == save(undisturbed.weights)


@pytest.mark.usefixtures("_stubbed")
@pytest.mark.parametrize("measures", [([0.5, 0.5], [1.0, float("nan")])])
def test_a_validation_loss_that_is_no_number_stops(dataset: Dataset) -> None:
    with pytest.raises(TrainingError, match="loss = nan at epoch 2, step 6: "):
        fit(dataset)
