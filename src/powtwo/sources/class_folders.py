"""Images in class folders, `train/<class>/*` and `test/<class>/*`, in a folder or an archive."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PurePosixPath
from typing import NoReturn

import numpy as np
from PIL import Image
from tqdm import tqdm

from powtwo.dataset.images import Images, Labels, TrainTestSplit
from powtwo.sources import archives
from powtwo.sources.decode import FORMATS, decode
from powtwo.sources.form import DEFAULT, Form

HALVES = ("train", "test")  # in lower or upper case
# Unicode: escaped bytes, controls, ends of lines; signs that have no width or turn the text around.
_UNPRINTABLE = {"Cs", "Cc", "Zl", "Zp", "Cf"}

Parts = tuple[str, ...]  # of a path


def read(path: Path, form: Form = DEFAULT) -> TrainTestSplit:
    """Read every image of both halves, in the order of half, class and file name.

    A single folder around `train` and `test` is stepped over, hidden files and those of the
    operating system are left out. What else is left out, of an image or beside the class folders,
    is printed, a line for each kind; so is what was resized to the form.

    Raises:
        ValueError: where there are fewer than two classes, a class has no images in a half or its
            name cannot be told from another, an image cannot be decoded, files lie too deep or in
            no class, or the archive cannot be read; see `archives.entries`.
    """
    folders = _ClassFolders(path, form)
    with archives.entries(path) as entries:
        for entry in tqdm(entries, "decode", unit=" files", disable=None):
            folders.add(entry)
    folders.check()
    for loss, names in folders.losses.items():
        print(f"{path}: {len(names)} × {loss}: {names[0]}{', ...' * (len(names) > 1)}", flush=True)
    train, test = (folders.half(name) for name in HALVES)
    return TrainTestSplit(*train, *test, tuple(sorted(folders.classes)))


@dataclass
class _ClassFolders:
    """What was read so far; each image is decoded as it comes, so no archive is held whole."""

    path: Path
    form: Form
    images: dict[Parts, Images] = field(default_factory=dict)  # by half, class, file name
    classes: set[str] = field(default_factory=set)
    halves: set[Parts] = field(default_factory=set)  # paths of `train` and `test` as written
    losses: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # to files

    def add(self, entry: archives.Entry) -> None:
        """Read a class folder or an image; note a file that is neither."""
        top, inside = _split(entry.parts)
        name = _shown("/".join(entry.parts))
        if inside and entry.fault:
            raise ValueError(f"{self.path}: {name}: {entry.fault}")
        if len(inside) < (2 if entry.is_folder else 3):
            if not entry.is_folder:
                self._leave_out(name, inside)
            return
        self._add_half((*top, entry.parts[len(top)]))
        self.classes.add(inside[1])
        if len(inside) == 2:
            return
        if entry.is_folder or len(inside) > 3:
            rule = "images must lie in train/<class>/ or test/<class>/ itself; move it"
            raise ValueError(f"{self.path}: {name}: lies too deep; {rule}")
        if inside in self.images:
            raise ValueError(f"{self.path}: {name}: is there twice; remove one")
        self._decode(name, inside, entry)

    def check(self) -> None:
        """Refuse an archive that is not class folders, or has an empty or unclear class."""
        if not self.halves:
            self._refuse_tree("nothing holds")
        self._check_names()
        filled = {(half, label) for half, label, _ in self.images}
        for label, half in product(sorted(self.classes), HALVES):
            if (half, label) not in filled:
                raise ValueError(
                    f"{self.path}: class {label!r} has no images in {half}/{label}; "
                    "add some there, or remove the class from both halves"
                )
        if len(self.classes) < 2:
            raise ValueError(
                f"{self.path}: only class {min(self.classes)!r}; there must be at least two"
            )

    def half(self, name: str) -> tuple[Images, Labels]:
        """Return the images (N, C, H, W) of `train` or `test` and their labels (N,)."""
        label = {label: index for index, label in enumerate(sorted(self.classes))}
        keys = sorted(key for key in self.images if key[0] == name)
        y = np.array([label[key[1]] for key in keys], dtype=np.int64)
        return np.stack([self.images[key] for key in keys]), y

    def _decode(self, name: str, key: Parts, entry: archives.Entry) -> None:
        content = entry.read()
        self.form.require_memory(len(self.images) + 1)
        try:
            self.images[key], losses = decode(content, self.form)
        except ValueError as error:
            raise ValueError(
                f"{self.path}: {name}: no image that can be read ({error}); save it anew or "
                "remove it"
            ) from error
        for loss in losses:
            self.losses[loss].append(name)

    def _leave_out(self, name: str, inside: Parts) -> None:
        suffix = PurePosixPath(name).suffix.lower()
        if inside and Image.registered_extensions().get(suffix) in FORMATS:
            raise ValueError(f"{self.path}: {name}: an image in no class; move it into a folder")
        self.losses["not in train/<class>/ or test/<class>/, left out"].append(name)

    def _add_half(self, half: Parts) -> None:
        self.halves.add(half)
        tops = {half[:-1] for half in self.halves}
        if len(tops) > 1:
            self._refuse_tree(f"{len(tops)} folders hold")
        if len({half[-1].lower() for half in self.halves}) < len(self.halves):
            names = ", ".join(sorted("/".join(half) for half in self.halves))
            raise ValueError(f"{self.path}: {names}: one half twice; move the images together")

    def _check_names(self) -> None:
        """Refuse class names that some systems cannot show or tell apart."""
        known: dict[str, str] = {}
        for label in sorted(self.classes):
            if _UNPRINTABLE & set(map(unicodedata.category, label)):
                raise ValueError(
                    f"{self.path}: class '{_shown(label)}': its name is not UTF-8, or has control "
                    "or invisible characters; rename the folder"
                )
            other = known.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
            if other != label:
                raise ValueError(
                    f"{self.path}: classes {other!a} and {label!a} differ in case or "
                    "Unicode form alone; rename one, or move their images together"
                )

    def _refuse_tree(self, finding: str) -> NoReturn:
        rule = "exactly one folder must, the top or one in it"
        raise ValueError(f"{self.path}: {finding} train/<class>/ and test/<class>/; {rule}")


def _split(parts: Parts) -> tuple[Parts, Parts]:
    """Split a path before its half, given in lower case; without one the second part is empty."""
    for start, part in enumerate(parts[:2]):
        if part.lower() in HALVES:
            return parts[:start], (part.lower(), *parts[start + 1 :])
    return parts, ()


def _shown(name: str) -> str:
    """Return a name with what a terminal cannot show, or would obey, in hexadecimal."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
