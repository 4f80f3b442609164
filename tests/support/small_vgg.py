"""A small real VGG, calibrated and converted: where tests of both begin."""

from __future__ import annotations

from typing import Any

import torch

from powtwo.calibration.exponents import calibrate
from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.dataset.normalization import Normalization
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.network.architecture import Architecture
from powtwo.network.checkpoint import Checkpoint

CLASSES = ("ant", "bee", "cat", "dog")
PER_CHANNEL = {"per": "channel", "bits": 8}


def trained(*layout: int | str) -> Checkpoint:
    """Return a network with batch norms that have seen data, so that folding changes weights."""
    torch.manual_seed(0)
    architecture = Architecture(layout, (16,), len(CLASSES))
    network = architecture.build().train()
    for _ in range(3):
        network(torch.randn(16, 3, 32, 32) * 0.7)
    return Checkpoint(architecture, Normalization("dyadic"), dict(network.state_dict()))


CHECKPOINT = trained(8, "M", 8, "M", 12, "M")
IMAGES = torch.randint(
    0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
)


def scheme(observer: str = "minmax-round", **options: Any) -> Scheme:
    """Return a scheme of one observer; the lab's has its clamp."""
    clamp = [-8, 0] if observer == "lab" else None
    quantizer = {"observer": observer, "bits": options.pop("bits", 8), "clamp": clamp}
    return Scheme.model_validate({"weights": quantizer, "activations": quantizer, **options})


def options_of(**changes: Any) -> Scheme:
    """Return a scheme with weights of 4 bits, and other options."""
    weights = {"observer": "mse", "bits": 4} | changes.pop("weights", {})
    activations = {"observer": "mse"} | changes.pop("activations", {})
    return Scheme.model_validate({"weights": weights, "activations": activations, **changes})


def calibration(options: Scheme, checkpoint: Checkpoint = CHECKPOINT) -> Calibrated:
    """Calibrate the small network, or another of its classes, on its images."""
    return calibrate(checkpoint, CLASSES, IMAGES, options, batch_size=8)


def convert(options: Scheme, checkpoint: Checkpoint = CHECKPOINT) -> to_integer.Conversion:
    """Calibrate and convert."""
    return to_integer.convert(calibration(options, checkpoint), "s", options)


def weighted(network: IntegerNetwork) -> list[Layer]:
    """Return the layers that have weights."""
    return [layer for layer in network.layers if layer.has_weights]
