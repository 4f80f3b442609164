"""Stage convert@S: exponents in, the integer network of scheme S out."""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys
from pathlib import Path

from pydantic import Field

from powtwo.conversion import to_integer
from powtwo.conversion.calibrated import Calibrated
from powtwo.conversion.scheme import Scheme
from powtwo.core import files
from powtwo.core.params import StageParams
from powtwo.core.stages import stage
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    scheme: Scheme = Field(alias="schemes.{scheme}")


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with observed(f"convert-{scheme}"), stage("convert", Reads, scheme) as params:
        calibrated = Calibrated.load(f"models/finetuned/{scheme}.safetensors", stage="finetune")
        converted = to_integer.convert(calibrated, scheme, params.scheme)
        for line in converted.told:
            print(line)
        network = Path(f"models/integer/{scheme}.safetensors")
        with files.atomic(network) as path:
            converted.network.save(path)
        metrics = to_integer.metrics(converted) | {"size_mb": network.stat().st_size / 2**20}
        files.write_json(f"metrics/convert/{scheme}.json", metrics)


if __name__ == "__main__":
    main(sys.argv[1])
