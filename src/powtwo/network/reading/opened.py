"""Which files the user's code opens while its network is made, as Python tells audit hooks.

`models/source.json` has the files that the code names; one that it does not name could change, and
nobody would train again.

Source: https://peps.python.org/pep-0578/
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import powtwo

NOT_OF_USERS = (Path(sys.prefix), Path(powtwo.__file__).parent)
_noted: set[Path] | None = None  # while it is a set; a hook cannot be removed
_hooked = False


@contextmanager
def noted() -> Iterator[set[Path]]:
    """Yield a set that has, after the block, the files that it read."""
    global _noted, _hooked  # noqa: PLW0603 (as a hook stays)
    if not _hooked:
        sys.addaudithook(_note)
        _hooked = True
    noted = _noted = set()
    try:
        yield noted
    finally:
        _noted = None


def check(paths: Iterable[Path], known: Iterable[Path]) -> None:
    """Refuse files below the current folder that are not known.

    Raises:
        ValueError: naming one, and what to do.
    """
    root, found = Path().resolve(), {_source(path.resolve()) for path in paths}
    allowed = {(root / name).resolve() for name in known}
    for path in sorted(found - allowed):
        if path.is_relative_to(root) and path.is_file() and not _is_of_others(path):
            name = path.relative_to(root).as_posix()
            raise ValueError(
                f"opens {name}, which its code does not name, so that a change would train "
                f"nothing again; write {path.name!r} or the whole path into it as one string"
            )


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _noted is None or event != "open":
        return
    path, _, flags = arguments
    if isinstance(path, str | bytes | os.PathLike) and not flags & (os.O_WRONLY | os.O_CREAT):
        _noted.add(Path(os.fsdecode(path)).absolute())


def _source(path: Path) -> Path:
    """Return the Python file that a cached one was compiled from, or else the file itself."""
    try:
        return Path(importlib.util.source_from_cache(str(path)))
    except ValueError:  # it is no cached one
        return path


def _is_of_others(path: Path) -> bool:
    return any(path.is_relative_to(folder.resolve()) for folder in NOT_OF_USERS)
