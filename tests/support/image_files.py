"""Pictures encoded to bytes, and trees of files packed into folders and archives."""

import io
import random
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from powtwo.sources import class_folders

SUFFIXES = (".tar", ".tar.gz", ".tar.xz", ".zip")
CLASSES = ("a", "b cat", "Ü")  # of class_files, sorted
Files = dict[str, bytes]  # content by path

_TARS = {".tar": "", ".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".tbz2": "bz2", ".tbz": "bz2",
         ".xz": "xz", ".txz": "xz"}  # fmt: skip


def noise(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Draw a picture of width and height `size`."""
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def png(seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> bytes:
    return encoded(noise(seed, size).convert(mode), "PNG")


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    """Return what the definition says: (3, 32, 32), red, green, blue."""
    return np.moveaxis(np.array(image.convert("RGB")), 2, 0)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def class_files() -> Files:
    """Return three train images of `b cat`, two of `a`, one of `Ü`; one test image each."""
    names = ["train/b cat/1.png", "train/b cat/10.png", "train/b cat/2.png", "train/Ü/9.png"]
    names += ["train/a/x.png", "train/a/Y.png", "test/a/0.png", "test/b cat/0.png", "test/Ü/0.png"]
    return {name: png(seed) for seed, name in enumerate(names)}


def fails(path: Path, message: str) -> None:
    """Check that reading fails in one line that starts with the path and goes on so."""
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{path}: {message}')}.*\Z"):
        class_folders.read(path)


def pack(path: Path, files: Files) -> Path:
    """Write files, in an order that is not theirs, to a folder or to an archive by its suffix."""
    names = sorted(files)
    random.Random(3).shuffle(names)
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.writestr(name, files[name])
    elif (kind := _TARS.get(path.suffix)) is not None:
        with tarfile.open(path, f"w:{kind}") as archive:
            for name in names:
                add(archive, name, files[name])
    else:
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(files[name])
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **header: object) -> None:
    """Add a member to a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in header.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


def append(path: Path, name: str, content: bytes = b"", **header: object) -> None:
    """Add a member to an archive; one without content is a folder, unless `header` says more."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name if content else f"{name}/", content)
    else:
        with tarfile.open(path, "a") as archive:
            add(archive, name, content, **({} if content else {"type": tarfile.DIRTYPE}) | header)
