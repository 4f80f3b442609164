"""How a float network does on images: in float32, as it is exported, and without augmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.dataset.normalization import Normalization
from powtwo.training.history import Measure

BATCH = 500  # images at a time, for memory alone


@torch.inference_mode()
def evaluate(
    network: nn.Sequential,
    pixels: Tensor,
    labels: Tensor,
    normalization: Normalization,
    batch_size: int = BATCH,
) -> Measure:
    """Measure a network on uint8 images (N, C, H, W) with labels (N,), all on its device."""
    network.eval()
    total = torch.zeros(2, dtype=torch.float64, device=labels.device)  # loss, images right
    for start in range(0, len(labels), batch_size):
        batch = slice(start, start + batch_size)
        x = pixels[batch].contiguous(memory_format=torch.channels_last)
        logits = network(normalization(x))  # (N, classes)
        loss = F.cross_entropy(logits.double(), labels[batch], reduction="sum")
        total += torch.stack([loss, (logits.argmax(1) == labels[batch]).sum()])
    loss, accuracy = (total / len(labels)).tolist()
    return Measure(loss, accuracy)
