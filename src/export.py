"""Stage export@S: the integer network of scheme S as files for C, RTL and ONNX."""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys

from powtwo.core.params import StageParams
from powtwo.core.stages import stage
from powtwo.dataset.images import Dataset
from powtwo.export.bundle import write_bundle
from powtwo.export.params import Export
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    export: Export


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with observed(f"export-{scheme}"), stage("export", Reads, scheme) as params:
        network = IntegerNetwork.load(f"models/integer/{scheme}.safetensors")
        dataset = Dataset.load("data/dataset.npz")
        options = params.export
        left_out = write_bundle(
            f"exports/{scheme}",
            network,
            dataset,
            options.images,
            options.formats,
            options.strict,
            packed=options.packed,
        )
        for name, reason in left_out.items():
            print(f"export: {scheme}: {name} left out: {reason}")


if __name__ == "__main__":
    main(sys.argv[1])
