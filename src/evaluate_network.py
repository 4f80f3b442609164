"""Run an integer network's file on test images: `--network FILE [--data PATH]`. No stage."""

import argparse
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError

from powtwo import cifar10, engine, evaluation, params, sources
from powtwo.datasets import Dataset
from powtwo.integer import IntegerNetwork


def main(arguments: list[str]) -> int:
    """Print how many test images the network has right; return 1 where it cannot run."""
    parser = argparse.ArgumentParser(prog="evaluate")
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args(arguments)
    try:
        print(measure(given.network, given.data))
    except (ValueError, OSError, KeyError, SafetensorError) as error:
        print(f"evaluate: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def measure(file: Path, data: Path | None) -> str:
    """Return a line about the network in `file` on the images at `data`."""
    values = params.load()
    try:
        network = IntegerNetwork.load(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: no safetensors file ({error}); give a network's") from None
    dataset = read(data, values.data)
    if network.classes != dataset.classes or network.input.shape != dataset.x_test.shape[1:]:
        raise ValueError(
            f"{file}: its classes or its images' shape are not those of the data: "
            f"{', '.join(network.classes)} against {', '.join(dataset.classes)}; give its own "
            "--data"
        )
    images, labels = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
    predict = engine.make(network).predict
    predicted = evaluation.predictions(predict, images, values.evaluate.batch_size)
    right = int((predicted == labels).sum())
    return (
        f"{file}: scheme {network.scheme}, {right:,} of {len(labels):,} test images right, "
        f"{right / len(labels):.2%}"
    )


def read(path: Path | None, data: params.Data) -> Dataset:
    """Read what `params.yaml` names, or at `path` a data set, CIFAR-10, or class folders."""
    if path is None:
        return sources.read(data, sources.location(data))
    if path.suffix == ".npz":
        return Dataset.load(path)
    folders = (path, path / "cifar-10-batches-py")
    original = path.name == cifar10.ARCHIVE.name or any(
        (folder / "test_batch").is_file() for folder in folders
    )
    name = "cifar10" if original else "images"
    return sources.read(data.model_copy(update={"name": name, "sha256": None}), path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
