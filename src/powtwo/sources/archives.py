"""What lies in a folder or an archive, read piece by piece and never extracted."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from powtwo.sources.ignored import ignored

DEPTH = 4  # levels that a folder is searched: a top folder, train or test, class, image
LARGEST = 2**29  # bytes of a file that is read; no image that Pillow reads has more

_BLOCK = 2**20  # bytes; what is read at a time at the end of a tar, and most of a header
_TAR_MODES: dict[str, Any] = {  # by suffix
    ".tar": "r:",
    ".tar.gz": "r:gz", ".tgz": "r:gz",
    ".tar.bz2": "r:bz2", ".tbz2": "r:bz2", ".tbz": "r:bz2",
    ".tar.xz": "r:xz", ".txz": "r:xz",
}  # fmt: skip
_READ_WHOLE = (  # into memory: members that say more of the next one, such as a long name
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_UTF8 = 0x800  # flags of a zip's member
_ENCRYPTED = 1


class Entry(NamedTuple):
    """A file or a folder; `read` must be called before the next entry is asked for."""

    parts: tuple[str, ...]  # of its path, relative to the top; bytes that are not UTF-8 escaped
    is_folder: bool
    fault: str  # why it must not be read, with the remedy; empty for a good one
    read: Callable[[], bytes]


class _BrokenError(Exception):
    """An archive cannot be read as what its suffix says."""


@contextmanager
def entries(path: Path) -> Iterator[Iterator[Entry]]:
    """Open a folder, a tar or a zip and yield an iterator of its entries.

    Files of the operating system are left out. A tar may be packed by gzip, bzip2 or xz.

    Raises:
        ValueError: where the suffix is another, the archive is truncated or broken, or a member's
            path is absolute or climbs out of the archive.
    """
    try:
        with closing(_open(path)) as iterator:
            yield (entry for entry in iterator if not any(map(ignored, entry.parts)))
    except _BrokenError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: truncated or broken ({reason}); get the archive again, or pack it anew"
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
    if path.name.lower().endswith(".zip"):
        return _read_zip(path)
    for suffix, mode in _TAR_MODES.items():
        if path.name.lower().endswith(suffix):
            return _read_tar(path, mode)
    known = ", ".join([*_TAR_MODES, ".zip"])
    raise ValueError(
        f"{path}: unknown suffix; must be a folder or end in one of {known}; "
        "unpack it (zstd -d, 7z x, ...) and give what comes out"
    )


def _read_folder(folder: Path, above: tuple[str, ...] = ()) -> Generator[Entry, None, None]:
    for path in sorted(folder.iterdir()):
        # Whatever the locale says of names, their bytes are taken for UTF-8.
        parts = (*above, os.fsencode(path.name).decode("utf-8", "surrogateescape"))
        if ignored(parts[-1]):
            continue
        is_folder = path.is_dir()
        size = path.stat().st_size if path.is_file() else None
        yield Entry(parts, is_folder, _fault(is_folder, size), path.read_bytes)
        if is_folder and len(parts) < DEPTH:
            yield from _read_folder(path, parts)


def _read_zip(path: Path) -> Generator[Entry, None, None]:
    with path.open("rb") as file, _call(zipfile.ZipFile, file) as archive:
        first = min((member.header_offset for member in archive.infolist()), default=0)
        if first:
            raise _BrokenError("more stands before its first file, as of zips that were joined")
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")  # as some programs for Windows pack
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_file = kind in (0, stat.S_IFREG)
            fault = _fault(name.endswith("/"), member.file_size if is_file else None)
            if member.flag_bits & _ENCRYPTED:
                fault = "encrypted; pack it without"
            if not (name.isascii() or member.flag_bits & _UTF8):
                fault = "a name in no stated encoding; pack it with `python -m zipfile -c`, or tar"
            read = partial(_call, archive.read, member)
            yield Entry(_parts(path, name), name.endswith("/"), fault, read)


def _read_tar(path: Path, mode: Any) -> Generator[Entry, None, None]:
    options = {"mode": mode, "encoding": "utf-8", "tarinfo": _StrictHeader}
    with path.open("rb") as file, _call(tarfile.open, fileobj=file, **options) as archive:
        while (member := _call(archive.next)) is not None:
            if member.size < 0:
                raise _BrokenError(f"{member.name}: size {member.size}")  # tarfile would go back
            fault = _fault(member.isdir(), member.size if member.isreg() else None)
            read = partial(_call, _read_member, archive, member)
            yield Entry(_parts(path, member.name), member.isdir(), fault, read)
        # To the very end: there the compressed stream checks its sum, and another tar may follow.
        while block := _call(archive.fileobj.read, _BLOCK):
            if block.strip(b"\0"):
                raise _BrokenError("more follows its end, as of tars that were joined")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # as for every regular file
    return file.read()


def _call(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a reader of tarfile or zipfile, and raise one kind of error for damage.

    They have many: a directory that points nowhere is an OSError, a size of exabytes a
    MemoryError, an unknown method a NotImplementedError, ...
    """
    try:
        return call(*arguments, **options)
    except Exception as error:
        raise _BrokenError(str(error) or type(error).__name__) from error


def _fault(is_folder: bool, size: int | None) -> str:
    """Say what speaks against reading a folder, a file of `size` bytes, or neither (None)."""
    if is_folder:
        return ""
    if size is None:
        return "a link, FIFO or device; put the file itself in its place"
    if size > LARGEST:
        return f"of {size:,} bytes, more than {LARGEST:,}; make it smaller or remove it"
    return ""


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
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the block of zeros that ends a whole archive
            raise tarfile.ReadError(str(error)) from None
        if header.size < 0 or (header.type in _READ_WHOLE and header.size > _BLOCK):
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header
