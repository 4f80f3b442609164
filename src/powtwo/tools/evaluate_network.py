"""Test accuracy of an integer network's file: `--network FILE [--data PATH]`. No stage."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from powtwo import engine
from powtwo.dataset.images import CHANNELS, Dataset
from powtwo.evaluation import comparison
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sources import cifar10
from powtwo.sources.params import Source
from powtwo.sources.place import location
from powtwo.sources.read import read_dataset


def main(arguments: list[str]) -> None:
    """Print the network's accuracy, or in one line why it cannot run."""
    options = parser("evaluate").parse_args(arguments)
    with one_line_errors("evaluate"):
        params = schema.load()
        network, dataset = load(options.network, options.data, params.data)
        images, labels = torch.from_numpy(dataset.x_test), torch.from_numpy(dataset.y_test)
        predict, batch_size = engine.make(network).predict, params.evaluate.batch_size
        correct = comparison.predictions(predict, images, batch_size) == labels
        print(
            f"{options.network}: scheme {network.scheme}, {correct.double().mean():.2%} test "
            f"accuracy ({correct.sum():,} of {len(labels):,} images)"
        )


def parser(program: str) -> argparse.ArgumentParser:
    """Return a parser of the options that say which network and which images."""
    options = argparse.ArgumentParser(prog=program)
    options.add_argument("--network", type=Path, required=True)
    options.add_argument("--data", type=Path)
    return options


def load(file: Path, images: Path | None, source: Source) -> tuple[IntegerNetwork, Dataset]:
    """Read a network, such as `results/NAME/SCHEME.safetensors`, and its images.

    Args:
        file: the network.
        images: a data set, CIFAR-10, or class folders; None for what `source` names.
        source: which images params.yaml names; they are brought to the network's shape.

    Raises:
        ValueError: where the file is no network, or the images have other classes or another shape.
    """
    network = IntegerNetwork.load(file)
    channels, *size = network.input.shape
    if channels in CHANNELS:
        source = source.model_copy(update={"size": size, "channels": channels})
    dataset = _read_images(images, source)
    expected = _describe(network.classes, network.input.shape)
    actual = _describe(dataset.classes, dataset.x_test.shape[1:])
    if expected != actual:
        raise ValueError(
            f"{file}: its classes and image shape are not those of the data: {expected} against "
            f"{actual}; give its own --data"
        )
    return network, dataset


def _describe(classes: tuple[str, ...], shape: tuple[int, ...]) -> str:
    return f"{', '.join(classes)}, {'x'.join(map(str, shape))}"


def _read_images(path: Path | None, source: Source) -> Dataset:
    if path is None:
        return read_dataset(source, location(source))
    if path.suffix == ".npz":
        return Dataset.load(path)
    name = "cifar10" if cifar10.is_original(path) else "images"
    return read_dataset(source.model_copy(update={"name": name, "sha256": None}), path)


if __name__ == "__main__":
    main(sys.argv[1:])
