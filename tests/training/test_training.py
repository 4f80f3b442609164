"""Training: each rule against a closed form or another implementation, then together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from test_augment import OFF
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from powtwo.dataset.images import Dataset
from powtwo.dataset.normalization import Normalization
from powtwo.network.architecture import Architecture
from powtwo.training import loop as training
from powtwo.training import schedules
from powtwo.training.checkpoints import Checkpoints
from powtwo.training.history import Best, Epoch, Measure
from powtwo.training.params import Train
from powtwo.training.trainer import Trainer, pool_first

SMALL = Architecture((8, "M", 8, "M", "M"), (), 2)
DYADIC = Normalization("dyadic")
RECIPE = {
    "epochs": 3,
    "batch_size": 16,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "decay": "all",
    "schedule": "one_cycle",
    "warmup": 0.3,
    "final_learning_rate": 1e-6,
    "label_smoothing": 0.1,
    "average": 0.0,
    "patience": 0,
    "augment": OFF | {"crop": 2, "flip": "random"},
    "precision": "bfloat16",
    "device": "cpu",
    "threads": 2,
    "processes": 1,
}


def recipe(**changes: Any) -> Train:
    return Train.model_validate(RECIPE | changes)


def rates(made: Train, steps: int) -> list[float]:
    """List the rates of a whole run whose losses do not matter."""
    epochs = [schedules.rates(made, steps, [1.0] * epoch) for epoch in range(made.epochs)]
    assert all(len(epoch) == steps for epoch in epochs)
    return [rate for epoch in epochs for rate in epoch]


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noisy stripes: lying ones are class 0, standing ones class 1."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count)
    lying = (np.arange(32) // 4 % 2 * 120)[:, None] * np.ones((1, 32))
    images = np.where(labels[:, None, None], lying.T, lying)[:, None].repeat(3, axis=1)
    noisy = images + generator.integers(0, 130, images.shape)
    return noisy.astype(np.uint8), labels


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    parts = [stripes(count, seed) for seed, count in enumerate((100, 30, 20))]
    return Dataset(*(array for part in parts for array in part), classes=("lying", "standing"))


def fit(
    dataset: Dataset, seed: int = 0, checkpoints: Checkpoints | None = None, **changes: Any
) -> tuple[nn.Sequential, training.Fit, list[Epoch]]:
    torch.manual_seed(seed)
    network, seen = SMALL.build(), []
    result = training.fit(
        network,
        dataset,
        DYADIC,
        recipe(**changes),
        seed=seed,
        on_epoch=lambda history: seen.append(history[-1]),
        on_resume=seen.extend,
        checkpoints=checkpoints,
    )
    return network, result, seen


# The schedule


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.55])
def test_one_cycle_is_pytorchs(warmup: float) -> None:
    made = rates(recipe(epochs=4, warmup=warmup, learning_rate=0.3), 11)
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
    np.testing.assert_allclose(made, expected, rtol=1e-9)


def test_cosine_is_pytorchs_stepped_by_epoch() -> None:
    made = rates(recipe(epochs=7, schedule="cosine", learning_rate=0.1), 3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=1e-6)
    for epoch in range(7):
        np.testing.assert_allclose(made[3 * epoch : 3 * epoch + 3], scheduler.get_last_lr() * 3)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(1, 1, 0.3), (1, 2, 0.9), (2, 3, 0.0)])
def test_one_cycle_of_few_steps_stays_between_its_ends(
    epochs: int, steps: int, warmup: float
) -> None:
    made = rates(recipe(epochs=epochs, warmup=warmup), steps)
    assert len(made) == epochs * steps
    assert all(1e-6 <= rate <= 0.05 for rate in made)
    if warmup == 0:
        assert made[0] == 0.05
        assert made[-1] == pytest.approx(1e-6)


@pytest.mark.parametrize("lowest", [0.0, 0.03])
def test_plateau_is_pytorchs(lowest: float) -> None:
    losses = [2.0, 1.0, 1.0, 0.99995, 1.2, 0.9, 0.9, 0.9, 0.8999, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5]
    made = recipe(schedule="plateau", learning_rate=0.1, final_learning_rate=lowest)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, min_lr=lowest
    )
    seen = []
    for epoch, loss in enumerate(losses):
        seen.append(optimizer.param_groups[0]["lr"])
        assert schedules.rates(made, 2, losses[:epoch]) == [seen[-1]] * 2
        scheduler.step(loss)
    assert set(seen) == {0.1, 0.05, max(0.025, lowest)}


def test_a_plateau_ends_where_a_step_down_is_too_small() -> None:
    made = recipe(schedule="plateau", learning_rate=3e-8, final_learning_rate=0.0)
    assert schedules.rates(made, 1, [1.0] * 50) == [1.5e-8]


# A step


@pytest.mark.parametrize("decay", ["all", "weights"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_against_numpy(nesterov: bool, decay: str) -> None:
    """Two steps of a linear network: smoothed targets, weight decay, momentum, rate."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    weight, bias = (p.detach().double().numpy().copy() for p in network.parameters())
    changes = {"nesterov": nesterov, "weight_decay": 0.1, "momentum": 0.8, "decay": decay}
    trainer = Trainer(network, recipe(precision="float32", **changes))
    buffers: list[np.ndarray] = []
    for rate in (0.5, 0.25):
        x, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 2, 1, 1, 0])
        flat, one_hot = x.flatten(1).double().numpy(), np.eye(3)[labels]
        logits = flat @ weight.T + bias
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        target = one_hot * 0.9 + 0.1 / 3
        minimized, plain, right = trainer.step(x, labels, rate).tolist()
        assert minimized == pytest.approx(-(target * log_p).sum(1).mean(), rel=1e-5)
        assert plain == pytest.approx(-(one_hot * log_p).sum(1).mean(), rel=1e-5)
        assert right == (logits.argmax(1) == labels.numpy()).sum()

        error = (np.exp(log_p) - target) / 5
        slopes = [error.T @ flat + 0.1 * weight, error.sum(0) + (decay == "all") * 0.1 * bias]
        old = buffers or [0.0 * slope for slope in slopes]
        buffers = [0.8 * b + slope for b, slope in zip(old, slopes, strict=True)]
        moves = [s + 0.8 * b if nesterov else b for s, b in zip(slopes, buffers, strict=True)]
        weight, bias = weight - rate * moves[0], bias - rate * moves[1]
        for parameter, expected in zip(network.parameters(), (weight, bias), strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_adam_against_numpy(decay: str) -> None:
    """Three steps on one weight and one bias, whose gradients autograd gives."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    changes = {"nesterov": False, "momentum": 0.8, "decay": decay, "weight_decay": 0.1}
    trainer = Trainer(network, recipe(optimizer="adam", precision="float32", **changes))
    expected = [p.detach().double().numpy().copy() for p in network.parameters()]
    moments = [[0.0 * p, 0.0 * p] for p in expected]
    x, labels = torch.randn(5, 3, 2, 2), torch.tensor([0, 2, 1, 1, 0])
    for step in (1, 2, 3):
        trainer.step(x, labels, 0.01)
        for index, parameter in enumerate(network.parameters()):
            decays = decay == "all" or index == 0
            slope = parameter.grad.double().numpy() + decays * 0.1 * expected[index]
            m, v = moments[index]
            moments[index] = m, v = 0.8 * m + 0.2 * slope, 0.999 * v + 0.001 * slope**2
            mean, square = (a / (1 - b**step) for a, b in zip((m, v), (0.8, 0.999), strict=True))
            expected[index] -= 0.01 * mean / (np.sqrt(square) + 1e-8)
            np.testing.assert_allclose(parameter.detach().numpy(), expected[index], rtol=1e-4)


def test_what_decays_are_kernels_and_matrices() -> None:
    """A batch norm's weight has gradient 0 where its input is constant: only decay moves it."""
    for decay, moves in (("all", True), ("weights", False)):
        network = SMALL.build()
        trainer = Trainer(network, recipe(decay=decay, weight_decay=0.5))
        x = torch.zeros(4, 3, 32, 32)
        trainer.step(x, torch.zeros(4, dtype=torch.long), 0.1)
        assert (network[1].weight[0].item() != 1) == moves
        assert network[0].weight.abs().max() < 1 / math.sqrt(27) * 0.96


def test_pooling_before_relu_changes_no_bit() -> None:
    torch.manual_seed(0)
    network = SMALL.build()
    order = [type(module).__name__ for module in pool_first(network)]
    assert order[:7] == [
        "Conv2d",
        "BatchNorm2d",
        "MaxPool2d",
        "ReLU",
        "Conv2d",
        "BatchNorm2d",
        "MaxPool2d",
    ]
    x = torch.randn(6, 3, 32, 32)
    results = []
    for each in (network, pool_first(network)):
        network.zero_grad()
        logits = each(x)
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad.clone() for parameter in network.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_average_follows_the_weights_and_the_statistics() -> None:
    torch.manual_seed(0)
    network = SMALL.build()
    trainer = Trainer(network, recipe(average=0.3))
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    expected = {name: network.state_dict()[name].double() for name in names}
    for step in range(1, 6):
        trainer.step(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]), 0.1)
        kept = min(0.3, (1 + step) / (10 + step))
        for name in names:
            expected[name] = kept * expected[name] + (1 - kept) * network.state_dict()[name]
    average = trainer.eval_model.state_dict()
    assert trainer.eval_model is not network
    for name in names:
        torch.testing.assert_close(average[name].double(), expected[name], rtol=1e-5, atol=1e-7)
    assert not torch.equal(average["0.weight"], network.state_dict()["0.weight"])


def test_precision_and_layout_reach_the_convolutions() -> None:
    seen: list[torch.Tensor] = []
    for precision in ("bfloat16", "float32"):
        network = SMALL.build()
        network[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
        trainer = Trainer(network, recipe(precision=precision))
        trainer.step(torch.randn(4, 3, 32, 32), torch.zeros(4, dtype=torch.long), 0.1)
        assert all(p.dtype == torch.float32 for p in network.parameters())
    assert [output.dtype for output in seen] == [torch.bfloat16, torch.float32]
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"train\.device = 'cuda': no GPU .* use cpu"):
        Trainer(SMALL.build(), recipe(device="cuda"))


# Measuring


@pytest.mark.parametrize("batch_size", [1, 7, 20, 500])
def test_evaluate_against_numpy(dataset: Dataset, batch_size: int) -> None:
    torch.manual_seed(1)
    network = SMALL.build().train()
    x, y = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure = training.evaluate(network, x, y, DYADIC, batch_size)
    with torch.no_grad():
        logits = network.eval()(DYADIC(x)).double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert measure.loss == pytest.approx(-log_p[np.arange(20), dataset.y_test].mean(), rel=1e-5)
    assert measure.accuracy == (logits.argmax(1) == dataset.y_test).mean()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# The best epoch and early stopping


def stubbed(monkeypatch: pytest.MonkeyPatch, accuracies: list[float], losses: list[float]) -> None:
    measures = iter([Measure(*pair) for pair in zip(losses, accuracies, strict=True)])
    monkeypatch.setattr(training, "evaluate", lambda *_: next(measures))


@pytest.mark.parametrize(
    ("patience", "accuracies", "expected"),
    [
        (2, [0.5, 0.6, 0.6, 0.6, 0.9, 0.9], (4, 2)),  # an equal accuracy is not a better one
        (2, [0.5, 0.4, 0.6, 0.5, 0.7, 0.1], (6, 5)),  # a better one starts the count again
        (1, [0.5, 0.5, 0.9, 0.9, 0.9, 0.9], (2, 1)),
        (0, [0.9, 0.1, 0.1, 0.1, 0.1, 0.1], (6, 1)),  # 0 never stops
        (5, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], (6, 1)),
    ],
)
def test_patience(
    monkeypatch: pytest.MonkeyPatch,
    dataset: Dataset,
    patience: int,
    accuracies: list[float],
    expected: tuple[int, int],  # epochs run, best epoch
) -> None:
    stubbed(monkeypatch, accuracies, [1.0] * 6)
    _, result, _ = fit(dataset, epochs=6, patience=patience)
    assert (len(result.history), result.best_epoch) == expected


def test_equal_accuracies_are_told_apart_by_the_loss_but_earn_no_patience(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    stubbed(monkeypatch, [0.5, 0.7, 0.7, 0.7, 0.9], [3.0, 2.0, 1.0, 1.5, 9.0])
    _, result, _ = fit(dataset, epochs=5, patience=2)
    assert (len(result.history), result.best_epoch) == (4, 3)


def test_the_best_weights_are_restored(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    stubbed(monkeypatch, [0.5, 0.9, 0.6, 0.7], [1.0] * 4)
    kept = []
    see = Best.see

    def spy(self: Best, row: Epoch, network: nn.Module) -> None:
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        see(self, row, network)

    monkeypatch.setattr(Best, "see", spy)
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
    measure = training.evaluate(network, x, y, DYADIC)
    assert measure == (best.validation_loss, best.validation_accuracy)


# A whole run


def test_it_learns_and_says_how(dataset: Dataset) -> None:
    network, result, seen = fit(dataset, epochs=8)
    assert result.history == seen
    assert [row.epoch for row in seen] == list(range(1, 9))
    assert [row.learning_rate for row in seen] == rates(recipe(epochs=8), 6)[5::6]
    assert seen[-1].train_loss < 0.5 * seen[0].train_loss
    assert max(row.validation_accuracy for row in seen) >= 0.95
    assert all(0 <= row.train_accuracy <= 1 and math.isfinite(row.train_loss) for row in seen)
    x, y = torch.from_numpy(dataset.x_validation), torch.from_numpy(dataset.y_validation)
    best = seen[result.best_epoch - 1]
    assert training.evaluate(network, x, y, DYADIC) == (
        best.validation_loss,
        best.validation_accuracy,
    )


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
    assert [rate for _, rate, _ in steps] == rates(recipe(epochs=2), 6)
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
    made = []
    for noise in (0, 5):
        torch.manual_seed(7)
        network = SMALL.build()
        torch.rand(noise)  # moves the global generator, which must not matter
        made.append(training.fit(network, dataset, DYADIC, recipe(), seed=1).weights)
    assert save(made[0]) == save(made[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_epoch_and_step(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, value: float
) -> None:
    count = 0
    step = Trainer.step

    def spoiled(self: Trainer, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        nonlocal count
        count += 1
        made = step(self, x, labels, rate)
        return made * value if count == 6 + 4 else made

    monkeypatch.setattr(Trainer, "step", spoiled)
    with pytest.raises(
        training.TrainingError,
        match=rf"loss = {value} at epoch 2, step 4: .*train\.learning_rate",
    ):
        fit(dataset)


def test_a_loss_that_is_no_number_leaves_the_checkpoint_before(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset, tmp_path: Path
) -> None:
    _, undisturbed, _ = fit(dataset)
    step = Trainer.step
    with monkeypatch.context() as patched:
        rows = iter([*[1.0] * (2 * 6 + 2), float("nan"), *[1.0] * 3])  # epoch 3, step 3
        patched.setattr(Trainer, "step", lambda *given: step(*given) * next(rows))
        with pytest.raises(training.TrainingError, match="at epoch 3, step 3"):
            fit(dataset, checkpoints=Checkpoints({"a": "b"}, tmp_path))
    kept = Checkpoints({"a": "b"}, tmp_path)
    state = kept.read(torch.device("cpu"))
    assert state is not None
    assert [row[0] for row in state["history"]] == [1, 2]
    _, resumed, seen = fit(dataset, checkpoints=kept)
    assert seen == resumed.history == undisturbed.history
    assert save(resumed.weights) == save(undisturbed.weights)


def test_a_validation_loss_that_is_no_number_stops(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    stubbed(monkeypatch, [0.5, 0.5], [1.0, float("nan")])
    with pytest.raises(training.TrainingError, match="loss = nan at epoch 2, step 6: "):
        fit(dataset)


def test_a_rate_far_too_high_stops(dataset: Dataset) -> None:
    with pytest.raises(training.TrainingError, match=r"at epoch \d+, step \d+"):
        fit(dataset, learning_rate=1e30, precision="float32", epochs=5)


class Waits(TorchDispatchMode):
    """Lists, while `on`, the operators that on a GPU wait for all that was asked of it before."""

    NAMES = frozenset({
        "aten::_local_scalar_dense",  # a value as a number
        "aten::nonzero", "aten::masked_select", "aten::unique_dim", "aten::_unique2",  # a length
        "aten::lift_fresh",  # torch.tensor: numbers on their way to it
    })  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.on, self.found = False, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = name in {"aten::index", "aten::index_put_"} and any(
            index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1]
        )
        if self.on and (masks or name in self.NAMES):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


ALL_ON = {
    "crop": 2, "padding": "reflect", "flip": "alternating", "rotation": 15.0, "erasing": 0.5,
    "erasing_scale": [0.02, 0.1], "cutout": 8,
}  # fmt: skip


def test_no_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    """The first may, for what all others need as well."""
    step, steps, waits = Trainer.step, [], Waits()

    def watched(self: Trainer, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        measures = step(self, x, labels, rate)
        steps.append(rate)
        waits.on = len(steps) < 100 // 8
        return measures

    monkeypatch.setattr(Trainer, "step", watched)
    standard = Normalization.of("standard", dataset.x_train)
    with waits:
        training.fit(
            SMALL.build(), dataset, standard, seed=0,
            recipe=recipe(epochs=1, batch_size=8, average=0.9, augment=ALL_ON),
        )  # fmt: skip
    assert len(steps) == 100 // 8
    assert waits.found == []


def test_nothing_goes_to_the_device_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    """Each copy would wait for its turn; on a CPU, `to` copies nothing, and so is counted here."""
    move, step, steps, moved = torch.Tensor.to, Trainer.step, [], list[Any]()

    def counted(tensor: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        devices = [each for each in (*given, *named.values()) if isinstance(each, torch.device)]
        if devices and 0 < len(steps) < 100 // 8:
            moved.append(given)
        return move(tensor, *given, **named)

    def watched(self: Trainer, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        steps.append(rate)
        return step(self, x, labels, rate)

    monkeypatch.setattr(torch.Tensor, "to", counted)
    monkeypatch.setattr(Trainer, "step", watched)
    fit(dataset, epochs=1, batch_size=8, average=0.9, augment=ALL_ON)
    assert len(steps) == 100 // 8
    assert moved == []


def test_nothing_is_read_back_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch, dataset: Dataset
) -> None:
    """On a GPU each of these would wait for all that was asked of it before."""
    reads: list[str] = []
    within = False
    step = Trainer.step

    def watched(self: Trainer, x: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        nonlocal within
        within = True
        return step(self, x, labels, rate)

    monkeypatch.setattr(Trainer, "step", watched)
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def noted(tensor: torch.Tensor, *rest: Any, _o: Any = original, _n: str = name) -> Any:
            if within:
                reads.append(_n)
            return _o(tensor, *rest)

        monkeypatch.setattr(torch.Tensor, name, noted)
    fit(dataset, epochs=1)
    # At the epoch's end: the log of the steps, two values of it, and the validation's two.
    assert reads == ["cpu", "tolist", "item", "item", "tolist"]


def test_training_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: Dataset
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(dataset, epochs=1)
    assert not list(tmp_path.iterdir())
