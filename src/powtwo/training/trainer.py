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
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.training import devices
from powtwo.training.params import Train
from powtwo.training.processes import SINGLE_PROCESS, Group

ADAM_SECOND_BETA = 0.999  # PyTorch's default


class Trainer:
    """A network and its optimizer; one call is one step."""

    def __init__(
        self, network: nn.Sequential, recipe: Train, group: Group = SINGLE_PROCESS
    ) -> None:
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
        self._forward = group.wrap(pool_first(self.network), self.device)
        self._smoothing = recipe.label_smoothing
        self._bfloat16 = devices.precision(recipe.precision, self.device) == "bfloat16"
        self._optimizer = _optimizer(self.network, recipe)

    def step(self, x: Tensor, labels: Tensor, learning_rate: float) -> Tensor:
        """Learn from normalized images (N, C, H, W) and labels (N,).

        Returns:
            On the device, so that nothing waits for it: the loss that was minimized and the plain
            one (nats, means), and the number of images that were classified correctly.
        """
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = learning_rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._forward(x)  # (N, classes)
        logits = logits.float()
        minimized = F.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        minimized.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._steps += 1
        if self._average_decay:
            self._update_average()
        with torch.no_grad():
            correct = (logits.argmax(1) == labels).sum()
            return torch.stack([minimized, F.cross_entropy(logits, labels), correct])

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

    @torch.no_grad()
    def _update_average(self) -> None:
        """Take in the weights after a step; the first steps count for more (source 6)."""
        decay = min(self._average_decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)


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


def _optimizer(network: nn.Module, recipe: Train) -> torch.optim.Optimizer:
    parameters = list(network.parameters())
    decaying = [p for p in parameters if p.ndim > 1 or recipe.decay == "all"]
    others = [p for p in parameters if p.ndim < 2 and recipe.decay == "weights"]  # source 4
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}]
    groups += [{"params": others, "weight_decay": 0.0}] if others else []
    if recipe.optimizer == "adam":
        betas = (recipe.momentum, ADAM_SECOND_BETA)
        return torch.optim.Adam(groups, lr=recipe.learning_rate, betas=betas)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov
    )


def _floats(network: nn.Module) -> list[Tensor]:
    """List all weights and statistics; a batch norm's count of batches is no float, nor needed."""
    return [
        tensor.detach() for tensor in network.state_dict().values() if tensor.is_floating_point()
    ]
