"""The steps of an epoch, one after another, on any device and in any number of processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from powtwo.dataset.normalization import Normalization
from powtwo.training.augment import TrainingImages
from powtwo.training.draws import AugmentParams
from powtwo.training.processes import Group
from powtwo.training.trainer import Trainer


class EagerSteps:
    """Launches each operator of a step by itself."""

    kind = "eager"

    def __init__(
        self,
        trainer: Trainer,
        images: TrainingImages,
        labels: Tensor,
        normalization: Normalization,
        group: Group,
    ) -> None:
        """Train on `images` and their labels (M,), which lie on the trainer's device."""
        self._trainer, self._images, self._labels = trainer, images, labels
        self._normalization, self._group = normalization, group

    def __call__(self, draws: AugmentParams, rates: Sequence[float], title: str) -> Tensor:
        """Take a step for each rate.

        Args:
            draws: of all steps of an epoch, on the CPU.
            rates: learning rates.
            title: of the progress bar.

        Returns:
            What `Trainer.step` gives for each, (steps, 3), on the device.
        """
        share = self._group.share(draws.rows.shape[1])
        steps = tqdm(
            draws.steps(self._trainer.device, share),
            desc=title,
            leave=False,
            disable=True if self._group.rank else None,  # None: where there is no terminal
        )
        return torch.stack([
            self._trainer.step(
                self._normalization(self._images.batch(drawn)), self._labels[drawn.rows], rate
            )
            for drawn, rate in zip(steps, rates, strict=True)
        ])  # fmt: skip
