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
from powtwo.network.params import WRITTEN

NOT_OF_USERS = (Path(sys.prefix).resolve(), Path(powtwo.__file__).parent.resolve())
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
    """Refuse files that were opened below the current folder and are not known.

    Raises:
        ValueError: naming one, and what to do.
    """
    root = Path().resolve()
    allowed = {(root / name).resolve() for name in known}
    for path in sorted(paths):
        file, name = _source(path.resolve()), _name(path, root)
        if name is None or file in allowed or not file.is_file():
            continue
        if _is_of_others(file) or _is_of_others(path):
            continue
        if not file.is_relative_to(root):
            raise ValueError(f"opens {name}, which lies elsewhere; put a copy below params.yaml")
        name = file.relative_to(root).as_posix()
        if name.partition("/")[0] in WRITTEN:
            raise ValueError(f"opens {name}, which stages write; put a copy into another folder")
        raise ValueError(
            f"opens {name}, which its code does not name, so that a change would train nothing "
            f"again; write {name!r} into it as one string"
        )


def _name(path: Path, root: Path) -> str | None:
    """Return the path from the root of what was opened by it, if it begins there."""
    for base in (root, Path.cwd()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return None


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
    return any(path.is_relative_to(folder) for folder in NOT_OF_USERS)
