"""How a network does: measured on images, listed by epoch, and its best weights so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.dataset.normalization import Normalization


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


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    normalization: Normalization,
    batch_size: int | None = None,  # for memory alone; a GPU is idle with few
) -> Measure:
    """Measure a network on uint8 images (N, C, H, W) with labels (N,), all on its device.

    In float32, as the network is exported, and without augmentation.
    """
    network.eval()
    batch_size = batch_size or (1000 if labels.device.type == "cuda" else 500)
    total = torch.zeros(2, dtype=torch.float64, device=labels.device)  # loss, correct images
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        x = pixels[batch].contiguous(memory_format=torch.channels_last)
        logits = network(normalization(x))  # (N, classes)
        loss = F.cross_entropy(logits.double(), labels[batch], reduction="sum")
        total += torch.stack([loss, (logits.argmax(1) == labels[batch]).sum()])
    return Measure(*(total / len(labels)).tolist())


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state, in the order of memory that files have."""
    return {
        name: value.clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }


@dataclass
class Best:
    """The best weights so far by validation accuracy, and the epochs since it last rose."""

    epoch: int = 0
    accuracy: float = -1.0
    loss: float = float("inf")
    epochs_without_improvement: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def update(self, row: Epoch, network: nn.Module) -> None:
        """Take the weights where the accuracy is higher, or equal at a lower loss."""
        accuracy, loss = row.validation_accuracy, row.validation_loss
        # Only a better accuracy resets the count: the loss falls long after it has settled.
        improved = accuracy > self.accuracy
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        if (accuracy, -loss) > (self.accuracy, -self.loss):
            self.epoch, self.accuracy, self.loss = row.epoch, accuracy, loss
            self.weights = weights_of(network)
