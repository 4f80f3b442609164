"""Stage evaluate-float: the float network's classes and zeros; computed once for all schemes.

Classes are of test images, zeros of validation images.
"""

import powtwo.sidecar.from_the_start  # noqa: F401

import torch
from pydantic import Field

from powtwo.core import files
from powtwo.core.params import Count, StageParams
from powtwo.core.stages import stage
from powtwo.dataset.images import Dataset, evenly_spaced
from powtwo.evaluation import comparison, float_classes, zeros
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folding import fold
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    batch_size: Count = Field(alias="evaluate.batch_size")
    zero_images: Count = Field(alias="evaluate.zero_images")


def main() -> None:
    """Run the stage."""
    with observed("evaluate-float"), stage("evaluate-float", Reads) as params:
        dataset = Dataset.load("data/dataset.npz")
        checkpoint = Checkpoint.load("models/float.safetensors")
        layers = fold(checkpoint.network())
        few = evenly_spaced(len(dataset.x_validation), params.zero_images)
        zero = zeros.float_zeros(
            layers,
            checkpoint.normalization,
            torch.from_numpy(dataset.x_validation[few]),
            params.batch_size,
        )
        classes = comparison.predictions(
            lambda x: comparison.classify(layers, checkpoint.normalization(x, torch.float64)),
            torch.from_numpy(dataset.x_test),
            params.batch_size,
        )
        float_classes.write("models/float-classes.npz", classes)
        files.write_csv("plots/zeros-float.csv", zeros.Zeros._fields, zero)


if __name__ == "__main__":
    main()
