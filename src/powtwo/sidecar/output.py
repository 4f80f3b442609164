"""What a script prints: neither a character that a terminal lacks nor a closed pipe is fatal."""

from __future__ import annotations

import codecs
import io
import os
import sys

_ASCII = str.maketrans({"µ": "u", "μ": "u", "×": "x", "·": "*", "−": "-", "–": "-", "±": "+-",
                        "→": "->", "…": "...", "“": '"', "”": '"', "’": "'"})  # fmt: skip


def write_anywhere() -> None:
    """Have a terminal that lacks a character show one in ASCII that is like it.

    Where nobody reads, as once `head` has ended, the rest goes nowhere: the work goes on.
    """
    codecs.register_error("powtwo-ascii", _in_ascii)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, which programs that print do not expect
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="powtwo-ascii")
            if stream is getattr(sys, f"__{name}__") and not isinstance(stream, _Unbroken):
                setattr(sys, name, _Unbroken(stream))


def flush() -> None:
    """Write what is left, so that an error of it can still be told.

    Raises:
        OSError: where it cannot be written, as on a full disk.
    """
    sys.stdout.flush()


def flush_or_drop() -> None:
    """Write what is left, or else drop it, so that the end of the process adds no error to one."""
    try:
        flush()
    except OSError:
        _to_nowhere(sys.stdout.fileno())


class _Unbroken(io.TextIOWrapper):
    """A standard stream that outlives the reader of its pipe."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering
        )
        self._stream = stream  # whose end would close the buffer

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            _to_nowhere(self.fileno())
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            _to_nowhere(self.fileno())


def _to_nowhere(descriptor: int) -> None:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # no path of a file
        os.dup2(nowhere.fileno(), descriptor)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end
