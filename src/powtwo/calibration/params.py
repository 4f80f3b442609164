"""The section `calibrate` of params.yaml."""

from __future__ import annotations

from powtwo.core.params import Count, Section, Seed


class Calibrate(Section):
    """The training images that observers see."""

    seed: Seed
    images: Count
    batch_size: Count
