"""The data set as a value and a file, and few images chosen of many."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from powtwo.dataset.images import Dataset, evenly_spaced

PARTS = ("train", "validation", "test")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@pytest.fixture
def small() -> Dataset:
    y = labels(0, 1)
    return Dataset(images(2, 1), y, images(2, 2), y, images(2, 3), y, ("cat", "hörse"))


def test_saving_twice_gives_the_same_bytes_and_loading_the_same_images(small, tmp_path):
    for name in ("one.npz", "two.npz", "no-suffix"):
        small.save(tmp_path / name)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    loaded = Dataset.load(tmp_path / "no-suffix")
    assert loaded.classes == small.classes
    for part in PARTS:
        for kind in "xy":
            name = f"{kind}_{part}"
            assert (getattr(loaded, name) == getattr(small, name)).all()
            assert getattr(loaded, name).dtype == getattr(small, name).dtype
    assert loaded.sha256() == small.sha256()


class Explosive:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a data set was unpickled",)


def damaged(dataset: Dataset, path: Path, **changes: object) -> None:
    """Save a data set with arrays replaced, or left out where None."""
    dataset.save(path)
    with np.load(path) as stored:
        parts = dict(stored) | changes
    parts = {name: array for name, array in parts.items() if array is not None}
    np.savez(path, allow_pickle=True, **parts)


@pytest.mark.parametrize("victim", ["x_train", "classes"])
def test_loading_never_unpickles(small, tmp_path, victim):
    path = tmp_path / "dataset.npz"
    damaged(small, path, **{victim: np.array([Explosive()], dtype=object)})
    with pytest.raises(ValueError, match=r"dataset.npz: no data set \(Object arrays cannot"):
        Dataset.load(path)


def test_a_file_that_is_no_data_set_says_what_to_do(small, tmp_path):
    path = tmp_path / "dataset.npz"
    damaged(small, path, y_test=None)
    incomplete = path.read_bytes()
    small.save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], incomplete):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^[^\n]*dataset.npz: no data set [^\n]*download"):
            Dataset.load(path)


def test_every_bit_and_name_is_in_the_digest(small):
    digests = {small.sha256()}
    for name in [f"{kind}_{part}" for kind in "xy" for part in PARTS]:
        array = getattr(small, name).copy()
        array.flat[-1] ^= 1
        digests.add(dataclasses.replace(small, **{name: array}).sha256())
    digests.add(dataclasses.replace(small, classes=("cat", "horse")).sha256())
    swapped = {"x_train": small.x_test, "x_test": small.x_train}
    digests.add(dataclasses.replace(small, **swapped).sha256())
    assert len(digests) == 9


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("x_train", images(3), r"is uint8 \(3, 3, 32, 32\); must be uint8 \(2, 3, 32, 32\)"),
        ("x_test", images(2).astype(np.float32), "is float32"),
        ("y_test", np.array([0, 1], dtype=np.int32), "is int32"),
        ("y_validation", labels(0, 2), "must hold labels from 0 to 1"),
        ("y_validation", labels(0, -1), "must hold labels from 0 to 1"),
    ],
)
def test_arrays_of_another_kind_are_refused(small, name, value, rule):
    with pytest.raises(ValueError, match=f"^{name}: {rule}" if name != "x_train" else rule):
        dataclasses.replace(small, **{name: value})


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 56)])
def test_images_may_have_any_shape_that_all_parts_have(small, tmp_path, shape):
    parts = {f"x_{part}": np.zeros((2, *shape), np.uint8) for part in PARTS}
    other = dataclasses.replace(small, **parts)
    other.save(tmp_path / "f")
    assert Dataset.load(tmp_path / "f").shape == other.shape == shape
    rule = rf"^x_test: is uint8 \(2, 3, 32, 32\); must be uint8 {re.escape(str((2, *shape)))}"
    with pytest.raises(ValueError, match=rule):
        dataclasses.replace(other, x_test=small.x_test)


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (2, 32, 32), (2, 3, 0, 32), (2,), ()])
def test_images_of_other_channels_or_axes_are_refused(small, shape):
    parts = {f"x_{part}": np.zeros(shape, np.uint8) for part in PARTS}
    with pytest.raises(ValueError, match=r"^x_train: is \(.*\); must be \(images, channels, heig"):
        dataclasses.replace(small, **parts)


@pytest.mark.parametrize("classes", [(), ("cat",), ("cat", "cat"), ("cat", "dog", "cat")])
def test_fewer_than_two_classes_or_a_name_twice_are_refused(small, classes):
    with pytest.raises(
        ValueError, match=r"^classes: are \(.*\); must be two or more, no name twice"
    ):
        dataclasses.replace(small, classes=classes)


def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "dataset.npz")
    with pytest.raises(ValueError, match=r"dataset.npz: no data set \(a FIFO, "):
        Dataset.load(tmp_path / "dataset.npz")


def test_evenly_spaced_by_hand():
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(3, 5) == [0, 1, 2]
    assert evenly_spaced(3, 0) == []


@given(total=st.integers(1, 500), count=st.integers(1, 500))
def test_gaps_between_evenly_spaced_differ_by_one_at_most(total, count):
    indices = evenly_spaced(total, count)
    assert len(indices) == min(count, total)
    gaps = np.diff([*indices, total])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1
