"""A training step: each rule against a closed form or another implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_runs import SMALL, recipe

from powtwo.training.trainer import Trainer, pool_first

LABELS = torch.tensor([0, 2, 1, 1, 0])


def linear(**changes: Any) -> tuple[nn.Linear, Trainer, list[np.ndarray]]:
    """Make a linear network with 12 inputs and 3 classes; return it with its weight and bias."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    changes |= {"weight_decay": 0.1, "momentum": 0.8, "precision": "float32"}
    values = [p.detach().double().numpy().copy() for p in network.parameters()]
    return network[1], Trainer(network, recipe(**changes)), values


@pytest.mark.parametrize("decay", ["all", "weights"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_against_numpy(nesterov: bool, decay: str) -> None:
    """Two steps: smoothed targets, weight decay, momentum, rate."""
    network, trainer, (weight, bias) = linear(nesterov=nesterov, decay=decay)
    buffers: list[np.ndarray] = []
    for rate in (0.5, 0.25):
        x = torch.randn(5, 3, 2, 2)
        flat, one_hot = x.flatten(1).double().numpy(), np.eye(3)[LABELS]
        logits = flat @ weight.T + bias
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        target = one_hot * 0.9 + 0.1 / 3
        minimized, plain, right = trainer.step(x, LABELS, rate).tolist()
        assert minimized == pytest.approx(-(target * log_p).sum(1).mean(), rel=1e-5)
        assert plain == pytest.approx(-(one_hot * log_p).sum(1).mean(), rel=1e-5)
        assert right == (logits.argmax(1) == LABELS.numpy()).sum()

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
    network, trainer, expected = linear(optimizer="adam", nesterov=False, decay=decay)
    moments = [[0.0 * p, 0.0 * p] for p in expected]
    x = torch.randn(5, 3, 2, 2)
    for step in (1, 2, 3):
        trainer.step(x, LABELS, 0.01)
        for index, parameter in enumerate(network.parameters()):
            decays = decay == "all" or index == 0
            slope = parameter.grad.double().numpy() + decays * 0.1 * expected[index]
            m, v = moments[index]
            moments[index] = m, v = 0.8 * m + 0.2 * slope, 0.999 * v + 0.001 * slope**2
            mean, square = (a / (1 - b**step) for a, b in zip((m, v), (0.8, 0.999), strict=True))
            expected[index] -= 0.01 * mean / (np.sqrt(square) + 1e-8)
            np.testing.assert_allclose(parameter.detach().numpy(), expected[index], rtol=1e-4)


def test_pooling_before_relu_changes_no_bit() -> None:
    torch.manual_seed(0)
    network = SMALL.build()
    order = [type(module).__name__ for module in pool_first(network)]
    assert order[2:4] == ["MaxPool2d", "ReLU"]
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
