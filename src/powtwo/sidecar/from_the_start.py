"""What each script imports first: `--debug`, and one line for what ends it while modules load.

Loading takes seconds. Until `one_line_errors` begins, nothing is written, so Ctrl-C ends the
process at once; a package that is missing, or does not fit in memory, is told of. This module
itself loads next to nothing, so that it is there from the start.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

OPTION = "--debug"


def begin() -> None:
    """Take `--debug` from the command line, and set how the process ends until it is at work.

    A program that is not ours, such as pytest, may import a script as well: it stays as it is.
    """
    if not _is_ours():
        return
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible and "RANK" not in os.environ:  # torchrun's processes are its own to end
        signal.signal(signal.SIGINT, _end)
    sys.excepthook = _tell
    if OPTION in sys.argv[1:]:
        sys.argv.remove(OPTION)
        os.environ["POWTWO_DEBUG"] = "1"


def _is_ours() -> bool:
    """Tell whether a script of src/ was started, or a module of the library by -m."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    source = _folder(_folder(_folder(__file__)))
    return sys.argv[:1] == ["-m"] or (main is not None and _folder(main) == source)


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120  # pathlib loads much


def _name() -> str:
    """Return what a line begins with: the script's name, or that of the module after -m."""
    words = sys.orig_argv
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return os.path.basename(sys.argv[0]).removesuffix(".py")  # noqa: PTH119


def _end(number: int, _: FrameType | None) -> None:
    os.write(2, f"{_name()}: interrupted; run it again\n".encode())
    os._exit(128 + number)


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    debug = os.environ.get("POWTWO_DEBUG") == "1"
    if isinstance(error, MemoryError) and not debug:  # which leaves no room for more modules
        os.write(2, f"{_name()}: out of memory; use a larger machine\n".encode())
        return
    from powtwo.sidecar.one_line import say  # noqa: PLC0415

    bug = isinstance(error, ValueError | ArithmeticError)  # of a module as it loads
    line = None if bug or debug else say(error)
    if line is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"{_name()}: {line}", file=sys.stderr)


begin()
