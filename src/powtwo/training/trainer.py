"""One training step, on a CPU or a GPU.

The forward and backward pass run under autocast in `train.precision`, channels last; weights,
optimizer and loss stay in float32.

Sources:
1. Nesterov's momentum: Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html
2. Adam: Kingma and Ba 2015, https://arxiv.org/abs/1412.6980
3. Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, §7
4. No decay of biases and batch norms: Jia et al. 2018, https://arxiv.org/abs/1807.11205, §3.3
"""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.dataset.images import IMAGE_SIZE
from powtwo.training import devices
from powtwo.training.average import Average
from powtwo.training.params import Train
from powtwo.training.processes import ALONE, Group

ADAM_SECOND_BETA = 0.999  # PyTorch's default


class Trainer:
    """A network and its optimizer; one call is one step."""

    def __init__(self, network: nn.Sequential, recipe: Train, group: Group = ALONE) -> None:
        """Move the network to `recipe.device`; each process of `group` has its share of a batch.

        Raises:
            ValueError: where that is a GPU and there is none.
        """
        self.device = devices.prepare(recipe.device, group.local)
        if group.size > 1 and self.device.type == "cuda":  # no CPU path; changes it in place
            nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(self.network, recipe.average) if recipe.average else None
        self._forward = group.wrap(pool_first(self.network), self.device)
        self._smoothing = recipe.label_smoothing
        self._bfloat16 = devices.precision(recipe.precision, self.device) == "bfloat16"
        self._optimizer = _optimizer(self.network, recipe)

    @property
    def eval_model(self) -> nn.Sequential:
        """The network to measure and to keep: the average where there is one."""
        return self.average.network if self.average else self.network

    def step(self, x: Tensor, labels: Tensor, rate: float) -> Tensor:
        """Learn from normalized images (N, C, H, W) and labels (N,) at one learning rate.

        Returns:
            On the device, so that nothing waits for it: the loss that was minimized and the plain
            one (nats, means), and the number of images that were classified right.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits, minimized = self._pass(self._forward, x, labels)
        self._optimizer.step()
        if self.average:
            self.average.see()
        with torch.no_grad():
            right = (logits.argmax(1) == labels).sum()
            return torch.stack([minimized, F.cross_entropy(logits, labels), right])

    def statistics(self) -> list[Tensor]:
        """List the running statistics of every batch norm, which processes do not share."""
        networks = [self.network, *([self.average.network] if self.average else [])]
        buffers = [buffer for network in networks for buffer in network.buffers()]
        return [buffer for buffer in buffers if buffer.is_floating_point()]

    def attempt(self, images: int) -> None:
        """Do what a step needs memory for, on so many images; the gradients are lost."""
        # A copy has none of DistributedDataParallel's hooks, which expect each gradient once in a
        # step; in training, SyncBatchNorm would wait for the other processes.
        network = copy.deepcopy(self.network).eval()
        x = torch.zeros(images, 3, IMAGE_SIZE, IMAGE_SIZE, device=self.device)
        x = x.contiguous(memory_format=torch.channels_last)
        self._pass(network, x, torch.zeros(images, dtype=torch.long, device=self.device))

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        average = self.average.state() if self.average else None
        optimizer = self._optimizer.state_dict()
        return {"network": self.network.state_dict(), "optimizer": optimizer, "average": average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.restore(state["average"])

    def _pass(self, network: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Go forward and back; return float32 logits (N, classes) and the minimized loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = network(x)  # (N, classes)
        logits = logits.float()
        minimized = F.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        minimized.backward()  # type: ignore[no-untyped-call]
        return logits, minimized


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
    spared = recipe.decay == "weights"  # whether what is no matrix or kernel is (source 4)
    decaying = [p for p in network.parameters() if p.ndim > 1 or not spared]
    others = [p for p in network.parameters() if p.ndim < 2 and spared]
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}]
    groups += [{"params": others, "weight_decay": 0.0}] if others else []
    if recipe.optimizer == "adam":
        betas = (recipe.momentum, ADAM_SECOND_BETA)
        return torch.optim.Adam(groups, lr=recipe.learning_rate, betas=betas)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov
    )
