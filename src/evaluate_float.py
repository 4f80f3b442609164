"""Stage evaluate-float: the classes that the float network gives; computed once for all schemes."""

import powtwo.sidecar.from_the_start  # noqa: F401

import torch
from pydantic import Field

from powtwo.core.params import Count, StageParams
from powtwo.core.stages import stage
from powtwo.dataset.images import Dataset
from powtwo.evaluation import comparison, float_classes
from powtwo.network.checkpoint import Checkpoint
from powtwo.network.folding import fold
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    batch_size: Count = Field(alias="evaluate.batch_size")


def main() -> None:
    """Run the stage."""
    with observed("evaluate-float"), stage("evaluate-float", Reads) as params:
        dataset = Dataset.load("data/dataset.npz")
        checkpoint = Checkpoint.load("models/float.safetensors")
        layers = fold(checkpoint.network())
        classes = comparison.predictions(
            lambda x: comparison.classify(layers, checkpoint.normalization(x, torch.float64)),
            torch.from_numpy(dataset.x_test),
            params.batch_size,
        )
        float_classes.write("models/float-classes.npz", classes)


if __name__ == "__main__":
    main()
