"""Run an integer network's file on test images: `--network FILE [--data PATH]`. No stage."""

import argparse
import sys
from pathlib import Path

import torch

from powtwo import engine
from powtwo.evaluation import comparison as evaluation
from powtwo.sidecar import schema as params
from powtwo.tools import network_file


def main(arguments: list[str]) -> int:
    """Print how many test images the network has right; return 1 where it cannot run."""
    parser = argparse.ArgumentParser(prog="evaluate")
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args(arguments)
    try:
        print(measure(given.network, given.data))
    except network_file.ERRORS as error:
        print(f"evaluate: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def measure(file: Path, data: Path | None) -> str:
    """Return a line about the network in `file` on the images at `data`."""
    values = params.load()
    network, dataset = network_file.load(file, data, values.data)
    images, labels = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
    predict = engine.make(network).predict
    predicted = evaluation.predictions(predict, images, values.evaluate.batch_size)
    right = int((predicted == labels).sum())
    return (
        f"{file}: scheme {network.scheme}, {right:,} of {len(labels):,} test images right, "
        f"{right / len(labels):.2%}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
