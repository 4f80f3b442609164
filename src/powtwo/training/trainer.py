"""One training step, on a CPU or a GPU.

The forward and backward pass run under autocast in `train.precision`, channels last; weights,
optimizer and loss stay in float32.

Sources:
1. Nesterov's momentum: Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html
2. Adam: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
3. Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, §7
4. No decay of biases and batch norms: Jia et al. 2018, https://arxiv.org/abs/1807.11205, §3.3
5. Average of the weights: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
6. Its exponential form, and why it lags less at first: the `decay` and `num_updates` of
   TensorFlow's `ExponentialMovingAverage`
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.training import devices
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS, Group

ADAM_SECOND_BETA = 0.999  # PyTorch's default
Measure = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Trainer:
    """A network and its optimizer; one call is one step."""

    def __init__(self, network: nn.Module, recipe: Train, group: Group = SINGLE_PROCESS) -> None:
        """Move the network to `recipe.device`; each process of `group` has its share of a batch.

        Raises:
            ValueError: where that is a GPU and there is none.
        """
        self.device = devices.prepare(recipe.device, group.local_rank)
        if group.size > 1 and self.device.type == "cuda":  # no CPU path; changes it in place
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # What to evaluate and to save: where it is asked for, the running average of the weights
        # and batch norm statistics (source 5).
        self.eval_model = copy.deepcopy(self.network) if recipe.average else self.network
        self._average_decay, self._steps = recipe.average, 0
        self._averages, self._weights = _floats(self.eval_model), _floats(self.network)
        self._network_forward = group.wrap(_as_it_trains(self.network), self.device)
        self.measure: Measure = self.forward  # or the same, compiled
        self._smoothing = recipe.label_smoothing
        self._bfloat16 = devices.precision(recipe.precision, self.device) == "bfloat16"
        self._optimizer = _optimizer(self.network, recipe, self.device)

    def step(self, x: Tensor, labels: Tensor, learning_rate: float) -> Tensor:
        """Learn from normalized images (N, C, H, W) and labels (N,).

        Returns:
            On the device, so that nothing waits for it: the loss that was minimized and the plain
            one (nats, means), and the number of images that were classified correctly.
        """
        (share,) = self.next_shares(1)
        return self.update(x, labels, learning_rate, share)

    def next_shares(self, steps: int) -> list[float]:
        """Count so many steps more, and return the share of the average that each replaces.

        The first steps count for more (source 6).
        """
        numbers = range(self._steps + 1, self._steps + steps + 1)
        self._steps += steps
        return [1 - min(self._average_decay, (1 + step) / (10 + step)) for step in numbers]

    def update(
        self, x: Tensor, labels: Tensor, learning_rate: float | Tensor, share: float | Tensor
    ) -> Tensor:
        """Do what `step` does, where rate and share may be numbers on the device, of shape ()."""
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = learning_rate
        minimized, measured = self.measure(x, labels)
        self._optimizer.zero_grad(set_to_none=True)
        minimized.backward()  # type: ignore[no-untyped-call]
        self._before_update()
        self._optimizer.step()
        if self._average_decay:
            with torch.no_grad():
                move_average(self._averages, self._weights, share)
        return measured

    def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss to minimize, and what `step` returns."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._network_forward(x)  # (N, classes)
        logits = logits.float()
        minimized = self._loss(x, logits, labels)
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            return minimized, torch.stack([minimized, F.cross_entropy(logits, labels), correct])

    def batch_norm_statistics(self) -> list[Tensor]:
        """List the running statistics of every batch norm, which processes do not share."""
        networks = dict.fromkeys([self.network, self.eval_model])  # which may be one and the same
        buffers = [buffer for network in networks for buffer in network.buffers()]
        return [buffer for buffer in buffers if buffer.is_floating_point()]

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "eval_model": self.eval_model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self._steps,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self.eval_model.load_state_dict(state["eval_model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps = state["steps"]

    def undo(self, state: dict[str, Any]) -> None:
        """Return to a copy of what `state` returned before some steps, in the same memory.

        `restore` replaces the optimizer's tensors, of which a captured step knows the addresses.
        """
        self.network.load_state_dict(state["network"])
        self.eval_model.load_state_dict(state["eval_model"])
        earlier = state["optimizer"]["state"]  # by the parameter's number; none before a first step
        groups = self._optimizer.param_groups
        for index, parameter in enumerate(p for group in groups for p in group["params"]):
            for name, tensor in self._optimizer.state[parameter].items():
                before = earlier.get(index, {}).get(name)
                tensor.zero_() if before is None else tensor.copy_(before)

    def _loss(self, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return what a step minimizes, nats, for images and their float32 logits (N, classes)."""
        return F.cross_entropy(logits, labels, label_smoothing=self._smoothing)

    def _before_update(self) -> None:
        """Change the gradients, where a training asks for it."""


def move_average(averages: list[Tensor], weights: list[Tensor], share: float | Tensor) -> None:
    """Move averages towards weights by a share of the way, in place."""
    if isinstance(share, Tensor) and share.device.type == "cpu":
        share = share.item()
    if not isinstance(share, Tensor):
        torch._foreach_lerp_(averages, weights, share)
        return
    # A lerp by a number on a GPU is a launch for each tensor; these are three for all.
    moves = torch._foreach_sub(weights, averages)
    torch._foreach_mul_(moves, share)
    torch._foreach_add_(averages, moves)


def _as_it_trains(network: nn.Module) -> nn.Module:
    return pool_first(network) if isinstance(network, nn.Sequential) else network


def pool_first(network: nn.Sequential) -> nn.Sequential:
    """Share the modules, but pool before each ReLU and not after it.

    Both are monotone, so they commute, in every bit; and a ReLU after 2x2 pooling has a quarter of
    the work.
    """
    modules = list(network)
    for index, (first, second) in enumerate(itertools.pairwise(list(network))):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d):
            modules[index : index + 2] = second, first
    return nn.Sequential(*modules)


def _optimizer(network: nn.Module, recipe: Train, device: torch.device) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    decaying = [p for p in parameters if p.ndim > 1 or recipe.decay == "all"]
    others = [p for p in parameters if p.ndim < 2 and recipe.decay == "weights"]  # source 4
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}]
    groups += [{"params": others, "weight_decay": 0.0}] if others else []
    gpu = device.type == "cuda"  # where one kernel updates all, and Adam may count steps as well
    if recipe.optimizer == "adam":
        return torch.optim.Adam(
            groups, lr=recipe.learning_rate, betas=(recipe.momentum, ADAM_SECOND_BETA),
            fused=gpu or None, capturable=gpu,
        )  # fmt: skip
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov,
        fused=gpu or None,
    )  # fmt: skip


def _floats(network: nn.Module) -> list[Tensor]:
    """List all weights and statistics; a batch norm's count of batches is no float, nor needed."""
    return [
        tensor.detach() for tensor in network.state_dict().values() if tensor.is_floating_point()
    ]
