"""Errors that a user can mend, in one line; tracebacks for bugs, and for who asks for them."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

DEBUG = "POWTWO_DEBUG"  # environment variable: 1 shows tracebacks
# By name, so that no package has to be imported: these are neither ValueErrors nor OSErrors.
_MENDABLE = {"SafetensorError", "UnidentifiedImageError"}
_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED", "ALLOCATION_FAILED")
_ASCII = str.maketrans({"µ": "u", "μ": "u", "×": "x", "·": "*", "−": "-", "–": "-", "±": "+-",
                        "→": "->", "…": "...", "“": '"', "”": '"', "’": "'"})  # fmt: skip


@contextmanager
def one_line_errors(name: str, file: Path | None = None) -> Iterator[None]:
    """Say what went wrong in the block in one line on stderr, and end with a status that tells.

    Args:
        name: what the line begins with.
        file: where the traceback goes, if anywhere.

    Raises:
        SystemExit: with 1 where a user can mend the error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    _write_anywhere()
    # Under torchrun a process may wait for others in C++, where no handler runs: it ends at once.
    mine = threading.current_thread() is threading.main_thread() and "RANK" not in os.environ
    before = signal.signal(signal.SIGTERM, _terminate) if mine else None
    try:
        yield
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run it again", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        line = _say(error)
        if line is None or os.environ.get(DEBUG) == "1":
            raise
        if file is not None:
            _keep(file)
        print(f"{name}: {line}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        if mine:
            signal.signal(signal.SIGTERM, before)


def _say(error: Exception) -> str | None:
    """Return an error in one line; None where it is a bug, or nobody knows better."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return f"out of memory ({text[:200]}); lower batch_size, or use a larger machine"
    if (
        isinstance(error, (ValueError, OSError, ArithmeticError))
        or type(error).__name__ in _MENDABLE
    ):
        return text
    return None


def _keep(file: Path) -> None:
    """Write the traceback, if there is room for it: a full disk is told of in any case."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return


def _terminate(number: int, _: FrameType | None) -> None:
    """End as after Ctrl-C, so that whatever is half written is removed."""
    raise SystemExit(128 + number)


def _write_anywhere() -> None:
    """Have a terminal that lacks a character show one in ASCII that is like it, and never fail."""
    codecs.register_error("powtwo-ascii", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="powtwo-ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
