"""Images in class folders, `train/<class>/*` and `test/<class>/*`, in a folder or an archive."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image
from tqdm import tqdm

from powtwo.dataset.images import IMAGE_SIZE, Images, Labels, TrainTestSplit
from powtwo.sources import archives

HALVES = ("train", "test")
# Plain raster formats: some of Pillow's others start programs or read further files.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

Parts = tuple[str, ...]  # of a path


def read(path: Path) -> TrainTestSplit:
    """Read every image of both halves, in the order of half, class and file name.

    A single folder around `train` and `test` is stepped over, hidden files and whatever lies
    beside the two are left out. Images of another size are resized, whatever their proportions.

    Raises:
        ValueError: where a class has no images in a half, an image cannot be decoded, files lie
            too deep, or the archive cannot be read; see `archives.entries`.
    """
    folders = _ClassFolders(path)
    with archives.entries(path) as entries:
        for entry in tqdm(entries, "decode", unit=" files", disable=None):
            folders.add(entry)
    folders.check()
    train, test = (folders.half(name) for name in HALVES)
    return TrainTestSplit(*train, *test, tuple(sorted(folders.classes)))


@dataclass
class _ClassFolders:
    """What was read so far; each image is decoded as it comes, so no archive is held whole."""

    path: Path
    images: dict[Parts, Images] = field(default_factory=dict)  # by half, class, file name
    classes: set[str] = field(default_factory=set)
    tops: set[Parts] = field(default_factory=set)  # where `train` and `test` lie

    def add(self, entry: archives.Entry) -> None:
        """Read a class folder or an image; pass over what is neither."""
        top, inside = _split(entry.parts)
        if len(inside) < (2 if entry.is_folder else 3):
            return
        self.tops.add(top)
        if len(self.tops) > 1:
            self._refuse_tree(f"{len(self.tops)} folders hold")
        self.classes.add(inside[1])
        if len(inside) == 2:
            return
        name = f"{self.path}: {'/'.join(entry.parts)}"
        if entry.is_folder or len(inside) > 3:
            rule = "images must lie in train/<class>/ or test/<class>/ itself; move it"
            raise ValueError(f"{name}: lies too deep; {rule}")
        if inside in self.images:
            raise ValueError(f"{name}: is there twice; remove one")
        self.images[inside] = _decode(name, entry.read())

    def check(self) -> None:
        """Refuse an archive that is not class folders, or has an empty class."""
        if not self.tops:
            self._refuse_tree("nothing holds")
        filled = {(half, label) for half, label, _ in self.images}
        for label, half in product(sorted(self.classes), HALVES):
            if (half, label) not in filled:
                raise ValueError(
                    f"{self.path}: class {label!r} has no images in {half}/{label}; "
                    "add some there, or remove the class from both halves"
                )

    def half(self, name: str) -> tuple[Images, Labels]:
        """Return the images (N, 3, 32, 32) of `train` or `test` and their labels (N,)."""
        label = {label: index for index, label in enumerate(sorted(self.classes))}
        keys = sorted(key for key in self.images if key[0] == name)
        y = np.array([label[key[1]] for key in keys], dtype=np.int64)
        return np.stack([self.images[key] for key in keys]), y

    def _refuse_tree(self, finding: str) -> NoReturn:
        rule = "exactly one folder must, the top or one in it"
        raise ValueError(f"{self.path}: {finding} train/<class>/ and test/<class>/; {rule}")


def _split(parts: Parts) -> tuple[Parts, Parts]:
    """Split a path before `train` or `test`; the second part is empty where neither is there."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    for start, part in enumerate(parts[:2]):
        if part in HALVES and not hidden:
            return parts[:start], parts[start:]
    return parts, ()


def _decode(name: str, content: bytes) -> Images:
    """Return an image as (3, 32, 32), red, green, blue."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _pixels(image)
    except Exception as error:  # Pillow's readers raise errors of a dozen kinds
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name}: no image that can be read ({reason}); save it anew or remove it"
        ) from error


def _pixels(image: Image.Image) -> Images:
    if image.mode[0] in "IF":
        raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
    if image.mode == "P":
        image = image.convert("RGBA")  # else Pillow warns of transparency
    image = image.convert("RGB")
    if image.size != (IMAGE_SIZE, IMAGE_SIZE):
        # Pillow resamples bytes in fixed point: the same pixels on every machine.
        image = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)  # (H, W, C) -> (C, H, W)
