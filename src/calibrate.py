"""Stage calibrate@S: the trained network and training images in, the exponents of scheme S out."""

import sys

import torch

from powtwo import calibration, files
from powtwo.datasets import Dataset
from powtwo.network import Checkpoint
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"calibrate-{scheme}", "calibrate", f"schemes.{scheme}") as params:
        dataset = Dataset.load("data/dataset.npz")
        calibrated = calibration.calibrate(
            Checkpoint.load("models/float.safetensors"),
            dataset.classes,
            calibration.sample(torch.from_numpy(dataset.x_train), params.calibrate),
            params.schemes[scheme],
            params.calibrate.batch_size,
        )
        with files.atomic(f"models/calibrated/{scheme}.safetensors") as path:
            calibrated.save(path)


if __name__ == "__main__":
    main(sys.argv[1])
