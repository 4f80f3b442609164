"""An integer network's file with the images that it is for, outside the pipeline."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from powtwo.dataset.images import Dataset
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar import schema as params
from powtwo.sources import cifar10
from powtwo.sources import read as sources

ERRORS = (ValueError, OSError, KeyError, SafetensorError)  # said in one line


def load(file: Path, data: Path | None, given: params.Data) -> tuple[IntegerNetwork, Dataset]:
    """Read a network, such as `results/NAME/SCHEME.safetensors`, and its images.

    Args:
        file: the network.
        data: a data set, CIFAR-10, or class folders; None for what `given` names.
        given: the section `data` of params.yaml.

    Raises:
        ValueError: where the file is no network, or the images have other classes or another shape.
    """
    try:
        network = IntegerNetwork.load(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: no safetensors file ({error}); give a network's") from None
    dataset = _read(data, given)
    own, others = (
        f"{', '.join(classes)}, {'x'.join(map(str, shape))}"
        for classes, shape in (
            (network.classes, network.input.shape),
            (dataset.classes, dataset.x_test.shape[1:]),
        )
    )
    if own != others:
        raise ValueError(
            f"{file}: its classes or its images' shape are not those of the data: {own} against "
            f"{others}; give its own --data"
        )
    return network, dataset


def _read(path: Path | None, data: params.Data) -> Dataset:
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
