"""What lies in a folder or an archive, read piece by piece and never extracted."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple, TypeVar

DEPTH = 4  # levels that a folder is searched: a top folder, train or test, class, image

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)
_BLOCK = 2**20  # bytes read at a time where nothing but the end is of interest

T = TypeVar("T")


class Entry(NamedTuple):
    """A file or a folder; `read` must be called before the next entry is asked for."""

    parts: tuple[str, ...]  # of its path, relative to the top
    is_folder: bool
    read: Callable[[], bytes]


@contextmanager
def entries(path: Path) -> Iterator[Iterator[Entry]]:
    """Open a folder, .tar, .tar.gz, .tar.xz or .zip and yield an iterator of its entries.

    Raises:
        ValueError: where the suffix is another, the archive is truncated or broken, or a member's
            path is absolute or climbs out of the archive.
    """
    try:
        with closing(_open(path)) as iterator:
            yield iterator
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path}: truncated or broken ({reason}); get the archive again"
        ) from error


def check_sha256(path: Path, expected: str) -> None:
    """Compare an archive with the digest that the parameters name.

    Raises:
        ValueError: where it is another one, or `path` is a folder.
    """
    if path.is_dir():
        raise ValueError(
            f"{path}: data.sha256 is given, but a folder has no digest; "
            "set data.path to the archive, or data.sha256 to null"
        )
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise ValueError(
            f"{path}: sha256 is {actual}, data.sha256 = {expected}; "
            "get the right archive, or correct data.sha256"
        )


def _open(path: Path) -> Generator[Entry, None, None]:
    if path.is_dir():
        return _read_folder(path)
    for suffix, reader in _READERS.items():
        if path.name.lower().endswith(suffix):
            return reader(path)
    known = ", ".join(_READERS)
    raise ValueError(f"{path}: unknown suffix; must be a folder or end in one of {known}")


def _read_folder(folder: Path) -> Generator[Entry, None, None]:
    for depth in range(1, DEPTH + 1):
        for path in folder.glob("/".join("*" * depth)):
            yield Entry(path.relative_to(folder).parts, path.is_dir(), path.read_bytes)


def _read_zip(path: Path) -> Generator[Entry, None, None]:
    with path.open("rb") as file, _call_zipfile(zipfile.ZipFile, file) as archive:
        for member in archive.infolist():
            parts = _parts(path, member.filename)
            if member.flag_bits & 1:
                raise ValueError(f"{path}: {member.filename}: encrypted; pack it without")
            yield Entry(parts, member.is_dir(), partial(_call_zipfile, archive.read, member))


def _call_zipfile(call: Callable[[Any], T], argument: Any) -> T:
    """Call a reader of zipfile, and raise one kind of error for damage, where it has many.

    A directory that points nowhere is an OSError, an unknown method a NotImplementedError, ...
    """
    try:
        return call(argument)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error


def _read_tar(path: Path, mode: Any) -> Generator[Entry, None, None]:
    with tarfile.open(path, mode, tarinfo=_StrictHeader) as archive:
        for member in archive:
            parts = _parts(path, member.name)
            if not (member.isdir() or member.isreg()):
                raise ValueError(f"{path}: {member.name}: a link or device; pack the file itself")
            yield Entry(parts, member.isdir(), partial(_read_member, archive, member))
        while archive.fileobj.read(_BLOCK):
            pass  # the compressed stream checks its sum only at its very end


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # as for every regular file
    return file.read()


def _parts(path: Path, name: str) -> tuple[str, ...]:
    """Split a member's path, refusing one that leads out of the archive on any system."""
    windows = PureWindowsPath(name)  # takes both / and \ for separators
    if windows.anchor or ".." in windows.parts:
        raise ValueError(
            f"{path}: {name}: an absolute path, or one with '..', leads out of the archive; "
            "pack it anew with relative paths"
        )
    return PurePosixPath(name).parts


class _StrictHeader(tarfile.TarInfo):
    """A header that is broken is an error, where tarfile would take it for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the block of zeros that ends a whole archive
            raise tarfile.ReadError(str(error)) from None


_READERS: dict[str, Callable[[Path], Generator[Entry, None, None]]] = {  # by suffix
    ".tar": partial(_read_tar, mode="r:"),
    ".tar.gz": partial(_read_tar, mode="r:gz"),
    ".tar.xz": partial(_read_tar, mode="r:xz"),
    ".zip": _read_zip,
}
