"""One training step, on a CPU or a GPU.

The forward and backward pass run under autocast in `train.precision`, channels last; weights,
optimizer and loss stay in float32.

Sources:
1. Nesterov's momentum: Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html
2. Label smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, §7
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.params import Train


class Trainer:
    """A network and its optimizer; one call is one step."""

    def __init__(self, network: nn.Sequential, recipe: Train) -> None:
        """Move the network to `recipe.device`.

        Raises:
            ValueError: where that is a GPU and there is none.
        """
        self.device = _device(recipe.device)
        self.network = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._smoothing = recipe.label_smoothing
        self._bfloat16 = recipe.precision == "bfloat16"
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        )

    def step(self, x: Tensor, labels: Tensor, rate: float) -> Tensor:
        """Learn from normalized images (N, C, H, W) and labels (N,) at one learning rate.

        Returns:
            On the device, so that nothing waits for it: the loss that was minimized and the plain
            one (nats, means), and the number of images that were classified right.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self.network(x)  # (N, classes)
        logits = logits.float()
        minimized = F.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        self._optimizer.zero_grad(set_to_none=True)
        minimized.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        with torch.no_grad():
            right = (logits.argmax(1) == labels).sum()
            return torch.stack([minimized, F.cross_entropy(logits, labels), right])


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("train.device = 'cuda': no GPU is visible to PyTorch; use cpu")
    return torch.device(name)
