"""Two folders change places in one step, so that a process killed at any time leaves one of them.

Sources:
1. Linux: https://man7.org/linux/man-pages/man2/renameat2.2.html
2. macOS: `renamex_np` in https://github.com/apple-oss-distributions/xnu/blob/main/bsd/man/man2/rename.2
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_HERE = -100  # AT_FDCWD: paths as the process sees them
_SWAP = 2  # RENAME_EXCHANGE, RENAME_SWAP
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}  # the kernel, the file system


def exchange(one: Path, other: Path) -> None:
    """Give each folder the other's name; both are of one file system.

    Where the system has no such step these are three, and what stood at `other` comes back where
    one fails.
    """
    if not _in_one_step(one, other):
        aside = one.with_name(f"{one.name}.aside")
        other.rename(aside)
        try:
            one.rename(other)
        except BaseException:
            aside.rename(other)
            raise
        aside.rename(one)


def _in_one_step(one: Path, other: Path) -> bool:
    """Exchange the folders and return True, or False where this system cannot."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        paths = os.fsencode(one), os.fsencode(other)
        if sys.platform == "darwin":
            failed = library.renamex_np(*paths, _SWAP)
        else:
            failed = library.renameat2(_HERE, paths[0], _HERE, paths[1], _SWAP)
    except (AttributeError, TypeError, OSError):  # another system, or an old C library
        return False
    if not failed:
        return True
    if (number := ctypes.get_errno()) in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))
