"""A running average of the weights, which is better than the weights of any one step.

Sources:
1. Averaging: Polyak and Juditsky 1992, https://doi.org/10.1137/0330046
2. The exponential form, and why it lags less at first: the `decay` and `num_updates` of
   TensorFlow's `ExponentialMovingAverage`
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of a network's weights and of its batch norms' statistics."""

    def __init__(self, network: nn.Sequential, kept: float) -> None:
        """Begin at the network's weights; keep the fraction `kept` of the average each step."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._kept = kept
        self._steps = 0
        self._mine, self._theirs = (_floats(each) for each in (self.network, network))

    @torch.no_grad()
    def see(self) -> None:
        """Take in the weights after a step; the first steps count for more (source 2)."""
        self._steps += 1
        kept = min(self._kept, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - kept)

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self._steps = state["steps"]


def _floats(network: nn.Module) -> list[Tensor]:
    """List all weights and statistics; a batch norm's count of batches is no float, nor needed."""
    return [
        tensor.detach() for tensor in network.state_dict().values() if tensor.is_floating_point()
    ]
