"""An .npz file whose bytes come of its arrays alone.

NumPy's `savez` asks for ZIP64 in every header, which releases of Python write differently. Here
an entry gets it only where its size needs it. `np.load` reads these files like any other.
The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from powtwo.core import strict

Arrays = dict[str, npt.NDArray[Any]]  # of any type, which the reader checks

UNIX = 3  # as the system that made an entry, whichever it was


def write(file: BinaryIO, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write arrays of any shape, uncompressed, in their order; nothing in it needs a pickle.

    Raises:
        ValueError: where an array holds Python objects.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, the earliest there is
            entry.create_system = UNIX
            entry.file_size = array.nbytes  # by which zipfile decides on ZIP64
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)


def read(path: Path | str) -> Arrays:
    """Read what `write` wrote, or another .npz file; nothing is ever unpickled.

    Raises:
        ValueError: where the file is broken or holds anything but plain arrays, saying why.
        OSError: where it cannot be opened, as where there is none.
    """
    if Path(path).is_fifo():
        raise ValueError("a FIFO, of which the end would be waited for")
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except Exception as error:  # bytes that are no archive make the readers fail in any way
            raise ValueError(strict.in_one_line(error)) from error
