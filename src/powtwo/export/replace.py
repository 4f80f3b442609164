"""Which folder an export may take the place of: none that holds anything but an older export."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from powtwo.export import manifest

_OF_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}  # that looking at a folder leaves


def refuse_loss(folder: Path) -> None:
    """Refuse a folder in which a file would be lost that no export brings back.

    A folder that is new or empty will do, and one with nothing but files of an earlier export, as
    they were written.

    Raises:
        ValueError: naming the folder, the first such file and the remedy.
    """
    if why := _reason(folder):
        raise ValueError(f"{folder}: {why}")


def _reason(folder: Path) -> str | None:
    if folder.is_symlink():
        return f"is a link to {folder.readlink()}; name the folder itself"
    if not folder.exists():
        return None
    if not folder.is_dir():
        return "is a file; name a folder"
    if _is_stood_on(folder):
        return "is or holds a home folder, the current one or a mount; name a new folder below it"
    loss = next(_losses(folder), None)
    return loss and f"{loss}; move it, or name a new folder"


def _is_stood_on(folder: Path) -> bool:
    """Tell whether the user's home, where the user stands, or a mount would be moved away."""
    named = [os.environ[name] for name in ("HOME", "USERPROFILE", "PWD") if name in os.environ]
    stood_on = [path.resolve() for path in (Path.cwd(), *map(Path, named))]
    whole = folder.resolve()
    return folder.is_mount() or any(whole in (path, *path.parents) for path in stood_on)


def _losses(folder: Path) -> Iterator[str]:
    """Yield what stands in a folder and is not as an export wrote it."""
    path = folder / manifest.FILE
    regular = path.is_file() and not path.is_symlink()
    listed = manifest.files_if_sealed(path.read_bytes()) if regular else None
    if listed is None and path.exists():
        yield f"{manifest.FILE} is not as an export of this version wrote it"
    folders = {parent for name in listed or {} for parent in PurePosixPath(name).parents}
    for where, below, names in os.walk(folder, onerror=_fail):
        for name in sorted([*below, *names]):
            entry = Path(where) / name
            inside = PurePosixPath(entry.relative_to(folder).as_posix())
            is_folder = entry.is_dir() and not entry.is_symlink()
            if (is_folder and inside in folders) or (name in _OF_THE_SYSTEM and not is_folder):
                continue
            digest = (listed or {}).get(str(inside))
            if digest is None:
                yield f"holds {inside}, which no export wrote"
            elif entry.is_symlink() or not entry.is_file() or _sha256(entry) != digest:
                yield f"{inside} was changed since it was exported"


def _fail(error: OSError) -> None:
    """Stop where a folder cannot be read, which `os.walk` would take for an empty one."""
    raise error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
