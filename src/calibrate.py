"""Stage calibrate@S: the trained network and training images in, the exponents of scheme S out."""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys

import torch
from pydantic import Field

from powtwo.calibration import equalization, exponents
from powtwo.calibration.params import Calibrate
from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.params import StageParams
from powtwo.core.stages import stage
from powtwo.dataset.images import Dataset
from powtwo.network.checkpoint import Checkpoint
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    calibrate: Calibrate
    scheme: Scheme = Field(alias="schemes.{scheme}")


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with observed(f"calibrate-{scheme}"), stage("calibrate", Reads, scheme) as params:
        dataset = Dataset.load("data/dataset.npz")
        calibrated = exponents.calibrate(
            Checkpoint.load("models/float.safetensors"),
            dataset.classes,
            exponents.sample(torch.from_numpy(dataset.x_train), params.calibrate),
            params.scheme,
            params.calibrate.batch_size,
        )
        if params.scheme.equalize and (kept := equalization.left_out(calibrated.folded)):
            layers = ", ".join(map(str, kept))
            print(f"not equalized, as an addition, a ReLU6 or several layers read it: {layers}")
        with files.atomic(f"models/calibrated/{scheme}.safetensors") as path:
            calibrated.save(path)


if __name__ == "__main__":
    main(sys.argv[1])
