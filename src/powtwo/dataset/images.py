"""The images of a run: one immutable value, one file, one digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from powtwo.core import arrays

CHANNELS = (3, 1)  # that an image may have: red, green, blue, or gray

Shape = tuple[int, int, int]  # of an image: (channels, height, width)
Images = npt.NDArray[np.uint8]  # (N, C, H, W)
Labels = npt.NDArray[np.int64]  # (N,), indices into the class names


class TrainTestSplit(NamedTuple):
    """What a source gives: its own train and test halves, no validation images yet."""

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 (N, C, H, W) with labels int64 (N,), in three parts.

    Raises:
        ValueError: where a part has another shape or type, is empty, or has a label of no class,
            or the names are not those of two classes or more.
    """

    x_train: Images
    y_train: Labels
    x_validation: Images
    y_validation: Labels
    x_test: Images
    y_test: Labels
    classes: tuple[str, ...]  # names, in the order of their labels

    def __post_init__(self) -> None:
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes: are {self.classes}; must be two or more, no name twice")
        _, *shape = self.x_train.shape or (0,)
        if len(shape) != 3 or shape[0] not in CHANNELS or 0 in shape:
            raise ValueError(
                f"x_train: is {self.x_train.shape}; must be (images, channels, height, width), "
                "with 3 channels or 1"
            )
        for part in ("train", "validation", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            _check(f"x_{part}", x, np.uint8, (len(y), *self.shape))
            _check(f"y_{part}", y, np.int64, (len(x),))
            if not len(y) or y.min() < 0 or y.max() >= len(self.classes):
                raise ValueError(
                    f"y_{part}: must hold labels from 0 to {len(self.classes) - 1}, at least one"
                )

    @property
    def shape(self) -> Shape:
        """Return the shape (C, H, W) that every image has."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width

    def save(self, path: Path | str) -> None:
        """Write an .npz file, the same bytes for the same images."""
        names = np.array(self.classes, dtype=np.str_)  # text of a fixed width needs no pickle
        with Path(path).open("wb") as file:
            arrays.write(file, self._arrays() | {"classes": names})

    @classmethod
    def load(cls, path: Path | str) -> Dataset:
        """Read what `save` wrote; nothing is ever unpickled.

        Raises:
            ValueError: where the file is broken, or no data set.
            FileNotFoundError: where there is no such file.
        """
        try:
            stored = arrays.read(path)
            parts = {field.name: stored[field.name] for field in fields(cls)}
            classes = tuple(map(str, parts.pop("classes")))
            return cls(**parts, classes=classes)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: no data set ({error}); run the download stage") from error

    def sha256(self) -> str:
        """Return the hex digest of every array's name, shape, type and bytes, and of the names."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for name, array in self._arrays().items():
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"{name} {little.shape} {little.dtype.str}".encode())
            digest.update(little.data)
        return digest.hexdigest()

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        return {field.name: getattr(self, field.name) for field in fields(self)[:-1]}


def _check(
    name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} {shape}"
        raise ValueError(f"{name}: is {array.dtype} {array.shape}; must be {expected}")


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return `count` indices evenly spaced over `total`, or all where there are fewer.

    Test images may stand class by class: the first few are then of one class, and these are not.
    """
    count = min(count, total)
    return [index * total // count for index in range(count)]
