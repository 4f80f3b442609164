"""Stage export@S: the integer network of scheme S as files for C, RTL and ONNX."""

import sys

from powtwo.datasets import Dataset
from powtwo.export import bundle
from powtwo.integer import IntegerNetwork
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"export-{scheme}", "export") as params:
        network = IntegerNetwork.load(f"models/integer/{scheme}.safetensors")
        dataset = Dataset.load("data/dataset.npz")
        given = params.export
        bundle.write(f"exports/{scheme}", network, dataset, given.images, given.formats)


if __name__ == "__main__":
    main(sys.argv[1])
