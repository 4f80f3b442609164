"""Stage finetune@S: the calibrated network of scheme S in, trained on the integer grid out.

A scheme without a section `finetune` hands its file on, and PyTorch is not imported.
"""

import powtwo.sidecar.from_the_start  # noqa: F401

import shutil
import sys
from pathlib import Path

from pydantic import Field

from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.params import Seed, StageParams
from powtwo.core.stages import stage
from powtwo.sidecar.run_log import observed
from powtwo.training.params import Train


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    seed: Seed
    train: Train
    scheme: Scheme = Field(alias="schemes.{scheme}")


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    calibrated = Path(f"models/calibrated/{scheme}.safetensors")
    finetuned = Path(f"models/finetuned/{scheme}.safetensors")
    curves = Path(f"plots/finetuning/{scheme}.csv")
    with observed(f"finetune-{scheme}"), stage("finetune", Reads, scheme) as params:
        if params.scheme.finetune is None:
            with files.atomic(finetuned) as path:
                shutil.copyfile(calibrated, path)
            files.write_csv(curves, ("epoch",), [])
            return
        from powtwo.finetuning import tune  # noqa: PLC0415  # PyTorch, for those that need it

        places = tune.Places(Path(__file__), calibrated, finetuned, curves)
        checkpoints = tune.run(params.scheme, params.train, params.seed, places)
    checkpoints.remove()  # not before the stage has found its code and parameters unchanged


if __name__ == "__main__":
    main(sys.argv[1])
