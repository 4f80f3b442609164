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

Key = tuple[str, str, str]  # half, class, file name


def read(path: Path) -> TrainTestSplit:
    """Read every image of both halves, in the order of half, class and file name.

    A single folder around `train` and `test` is stepped over, hidden files and whatever lies
    beside the two are left out. Images of another size are resized, whatever their proportions.

    Raises:
        ValueError: where a class has no images in a half, an image cannot be decoded, files lie
            too deep, or the archive cannot be read; see `archives.entries`.
    """
    found = _Found(path)
    with archives.entries(path) as entries:
        for entry in tqdm(entries, "decode", unit=" files", disable=None):
            found.add(entry)
    found.check()
    names = tuple(sorted(found.classes))
    train, test = (_arrays(found.images, half, names) for half in HALVES)
    return TrainTestSplit(*train, *test, names)


@dataclass
class _Found:
    """What was met so far; each image is decoded as it comes, so no archive is held whole."""

    path: Path
    images: dict[Key, Images] = field(default_factory=dict)
    classes: set[str] = field(default_factory=set)
    tops: set[tuple[str, ...]] = field(default_factory=set)  # where `train` and `test` lie

    def add(self, entry: archives.Entry) -> None:
        """Take in a class folder or an image; pass over what is neither."""
        top, place = _place(entry.parts)
        if len(place) < (2 if entry.is_folder else 3):
            return
        self.tops.add(top)
        if len(self.tops) > 1:
            self._refuse(f"{len(self.tops)} folders hold")
        self.classes.add(place[1])
        if len(place) > 2:
            name = "/".join(entry.parts)
            key = self._key(name, place, entry.is_folder)
            self.images[key] = _decode(self.path, name, entry.read())

    def check(self) -> None:
        """Refuse an archive that is not class folders, or has an empty class."""
        if not self.tops:
            self._refuse("nothing holds")
        filled = {(half, name) for half, name, _ in self.images}
        for name, half in product(sorted(self.classes), HALVES):
            if (half, name) not in filled:
                raise ValueError(
                    f"{self.path}: class {name!r} has no images in {half}/{name}; "
                    "add some there, or remove the class from both halves"
                )

    def _refuse(self, found: str) -> NoReturn:
        rule = "exactly one folder must, the top or one in it"
        raise ValueError(f"{self.path}: {found} train/<class>/ and test/<class>/; {rule}")

    def _key(self, name: str, place: tuple[str, ...], is_folder: bool) -> Key:
        if is_folder or len(place) > 3:
            rule = "images must lie in train/<class>/ or test/<class>/ itself; move it"
            raise ValueError(f"{self.path}: {name}: lies too deep; {rule}")
        half, label, file = place
        if (half, label, file) in self.images:
            raise ValueError(f"{self.path}: {name}: is there twice; remove one")
        return half, label, file


def _place(parts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split a path before `train` or `test`; the second part is empty where neither is there."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    for start, part in enumerate(parts[:2]):
        if part in HALVES and not hidden:
            return parts[:start], parts[start:]
    return parts, ()


def _decode(path: Path, name: str, content: bytes) -> Images:
    """Return an image as (3, 32, 32), red, green, blue."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _pixels(image)
    except Exception as error:  # Pillow's readers raise errors of a dozen kinds
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: {name}: no image that can be read ({reason}); save it anew or remove it"
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


def _arrays(
    images: dict[Key, Images], half: str, classes: tuple[str, ...]
) -> tuple[Images, Labels]:
    label = {name: index for index, name in enumerate(classes)}
    keys = sorted(key for key in images if key[0] == half)
    y = np.array([label[name] for _, name, _ in keys], dtype=np.int64)
    return np.stack([images[key] for key in keys]), y
