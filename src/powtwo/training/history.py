"""What training remembers: how each epoch went, and the best weights so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Measure(NamedTuple):
    """How a network does on labeled images."""

    loss: float  # nats, cross-entropy without label smoothing, mean over the images
    accuracy: float  # fraction


class Epoch(NamedTuple):
    """A row of the history.

    Training values are means over the epoch's steps, of augmented images and of weights that
    change meanwhile; both losses are plain cross-entropy, whatever the label smoothing.
    """

    epoch: int  # from 1
    learning_rate: float  # of its last step
    train_loss: float  # nats
    validation_loss: float  # nats
    train_accuracy: float  # fraction
    validation_accuracy: float  # fraction


@dataclass
class Best:
    """The best weights so far by validation accuracy, and the epochs since it last rose."""

    epoch: int = 0
    accuracy: float = -1.0
    loss: float = float("inf")
    waited: int = 0  # epochs
    weights: dict[str, Tensor] = field(default_factory=dict)

    def see(self, row: Epoch, network: nn.Module) -> None:
        """Take the weights where the accuracy is higher, or equal at a lower loss."""
        accuracy, loss = row.validation_accuracy, row.validation_loss
        # Only a better accuracy earns patience: the loss falls long after it has settled.
        self.waited = 0 if accuracy > self.accuracy else self.waited + 1
        if (accuracy, -loss) > (self.accuracy, -self.loss):
            self.epoch, self.accuracy, self.loss = row.epoch, accuracy, loss
            self.weights = {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in network.state_dict().items()
            }
