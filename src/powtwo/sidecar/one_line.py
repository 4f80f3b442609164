"""Errors that a user can mend, in one line; tracebacks for bugs, and for who asks for them."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from powtwo.sidecar import output

DEBUG = "POWTWO_DEBUG"  # environment variable: 1 shows tracebacks; so does --debug of any script
# By name, so that no package has to be imported: these are neither ValueErrors nor OSErrors.
_MENDABLE = {"SafetensorError", "UnidentifiedImageError", "DecompressionBombError", "BadZipFile",
             "ReadError", "LZMAError", "EOFError"}  # fmt: skip
_OUT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|cannot allocate memory|bad_alloc|DefaultCPUAllocator|"
    "ALLOC_FAILED|ALLOCATION_FAILED|could not create a memory|failed to map segment|"
    "can't start new thread",
    re.IGNORECASE,
)
_WRITES_FAIL = re.compile(r"os error (\d+)|file write failed|unexpected pos")  # Rust's, PyTorch's
_REMEDIES = {
    errno.ENOENT: "correct the path, bring it back, or run what writes it",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EACCES: "allow it, or choose another place",
    errno.EPERM: "allow it, or choose another place",
    errno.EROFS: "choose another place",
    errno.EISDIR: "a file must be there",
    errno.ENOTDIR: "a folder must be there",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


@contextmanager
def one_line_errors(name: str, file: Path | None = None) -> Iterator[None]:
    """Say what went wrong in the block in one line on stderr, and end with a status that tells.

    Args:
        name: what the line begins with.
        file: where the traceback goes, if anywhere.

    Raises:
        SystemExit: with 1 where a user can mend the error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    output.write_anywhere()
    with _orderly_ends():
        try:
            yield
            output.flush()
        except KeyboardInterrupt:
            print(f"{name}: interrupted; run it again", file=sys.stderr)
            raise SystemExit(128 + signal.SIGINT) from None
        except _Stopped as end:
            print(f"{name}: stopped; run it again", file=sys.stderr)
            raise SystemExit(end.code) from None
        except Exception as error:
            line = say(error)
            if line is None or os.environ.get(DEBUG) == "1":
                raise
            if file is not None:
                _keep(file)
            print(f"{name}: {line}", file=sys.stderr)
            output.flush_or_drop()
            raise SystemExit(1) from None


def say(error: BaseException) -> str | None:
    """Return an error in one line; None where it is a bug, or nobody knows better."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return f"out of memory ({text[:200]}); lower batch_size, or use a larger machine"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        unknown = error.errno == errno.ENOENT and not where  # what is missing
        return f"{where}{error.strerror}{'' if unknown else _remedy(error.errno)}"
    if isinstance(error, ModuleNotFoundError) and error.name and "powtwo" not in error.name:
        return f"{error.name}: not installed; activate .venv, or use ./inv"
    if failed := _WRITES_FAIL.search(text):
        return f"writing failed: {text}{_remedy(int(failed[1] or errno.ENOSPC))}"
    if isinstance(error, ValueError | OSError | ArithmeticError):
        return text
    return text if type(error).__name__ in _MENDABLE else None


def _remedy(number: int | None) -> str:
    return f"; {_REMEDIES[number]}" if number in _REMEDIES else ""


def _keep(file: Path) -> None:
    """Write the traceback, if there is room for it: a full disk is told of in any case."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A path that is not UTF-8 is no reason to lose the line.
        file.write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return


class _Stopped(SystemExit):
    """SIGTERM has come, or SIGHUP: whatever is half written is removed, as after Ctrl-C."""


@contextmanager
def _orderly_ends() -> Iterator[None]:
    """Have a signal that ends the process raise in the block instead, unless it is ignored."""
    # Under torchrun a process may wait for others in C++, where no handler runs: it ends at once.
    mine = threading.current_thread() is threading.main_thread() and "RANK" not in os.environ
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _stop}
    if hasattr(signal, "SIGHUP"):
        wanted[signal.SIGHUP] = _stop  # the terminal is gone
    before = {number: signal.getsignal(number) for number in wanted} if mine else {}
    before = {number: old for number, old in before.items() if old is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, wanted[number])
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _stop(number: int, _: FrameType | None) -> None:
    raise _Stopped(128 + number)
