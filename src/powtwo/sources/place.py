"""Where the images of a source lie, and whether there is anything of the kind that it asks for."""

from __future__ import annotations

import os
from pathlib import Path

from powtwo.sources.params import Source

ENVIRONMENT = "POWTWO_DATA"


def location(source: Source) -> Path | None:
    """Return where the images lie: the environment variable POWTWO_DATA, else `data.path`.

    Raises:
        ValueError: where it begins with a `~` that is nobody's.
    """
    path = os.environ.get(ENVIRONMENT) or source.path
    try:
        return Path(path).expanduser() if path else None
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}; correct data.path or {ENVIRONMENT}") from None


def check(source: Source, path: Path | None) -> None:
    """Refuse a place that cannot hold the images of a source, before anything is read.

    Raises:
        ValueError: where there is nothing at `path`, no file and no folder, or not what
            data.name and data.sha256 need.
    """
    if path is not None and not path.exists():
        raise ValueError(f"{path}: no such file or folder; correct data.path or {ENVIRONMENT}")
    if path is not None and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path}: neither a file nor a folder; correct data.path or {ENVIRONMENT}")
    if source.name == "mnist5k" and source.sha256 is not None:
        raise ValueError(
            f"data.sha256 = {source.sha256}: mnist5k comes from a package, not from an archive; "
            "set data.sha256 to null"
        )
    if source.name == "images" and path is None:
        raise ValueError(
            f"data.path = null: 'images' needs a folder or archive; set it, {ENVIRONMENT} or --data"
        )
    if source.sha256 is not None and path is not None and path.is_dir():
        raise ValueError(
            f"{path}: data.sha256 is given, but a folder has no digest; "
            "set data.path to the archive, or data.sha256 to null"
        )
