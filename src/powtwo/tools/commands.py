"""What tasks.py is written with: running a command, options of the command line.

Nothing heavy is imported here, for every task begins with it.
"""

from __future__ import annotations

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from types import FrameType, ModuleType

from invoke.context import Context
from invoke.exceptions import Exit

ROOT = Path(__file__).absolute().parents[3]

# Each step of training allocates and frees the same big blocks. glibc hands them back to the
# system, and the next step pays for their pages anew. These settings keep them. Only Linux reads
# them, as a process starts, and no byte of a result depends on them.
TUNABLES = {
    "mmap_max": 0,  # blocks; none gets a mapping of its own, which would end when it is freed
    "trim_threshold": 2**33,  # bytes; the end of the heap stays as well
    "arena_max": 1,  # heaps; further ones are of 64 MB at most and shrink
    "hugetlb": 1,  # ask for pages of 2 MB, where the system waits to be asked
}


def optional(name: str, *arguments: str) -> list[str]:
    """Make as many arguments of the task `name` positional as words follow it.

    Invoke requires every positional argument; this lets `inv bench` stand beside `inv bench NAME`.
    """
    words = sys.argv[sys.argv.index(name) + 1 :] if name in sys.argv else []
    values = takewhile(lambda word: not word.startswith("-"), words)
    return [argument for argument, _ in zip(arguments, values, strict=False)]


def rest() -> list[str]:
    """Return what follows `--` on the command line; the command gets it unchanged."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def call(context: Context, *command: str) -> int:
    """Show a command, run it at the root with this terminal, and return its exit code."""
    if not context.config.run.dry:
        tool("no_git").tell_dvc(ROOT)
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if context.config.run.dry:
        return 0
    try:
        return _patiently(command, environment)
    except FileNotFoundError:
        raise Exit(f"{command[0]}: not found; use ./inv, or activate .venv", 127) from None


def _patiently(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """Run a command and wait through signals, so that it has time to end its stages.

    It gets a Ctrl-C by itself, and what is sent to this process alone from here. The handlers
    stand before it starts, for it may be at work before Popen has returned.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if child is None:
            early.append(number)
        elif number != signal.SIGINT:
            child.send_signal(number)

    known = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    ours = [n for n in known if n and signal.getsignal(n) is not signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, pass_on) for number in ours}
    try:
        child = subprocess.Popen(command, cwd=ROOT, env=environment)
        for number in early:
            child.send_signal(number)
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def need_git(task: str) -> None:
    """Refuse to go on without Git."""
    if not tool("no_git").has_git(ROOT):
        raise Exit(f"{task}: no Git here, whose commits it needs; clone the repository", 1)


def run(context: Context, *command: str) -> None:
    """Run a command; where it fails, end with its exit code and without a traceback."""
    end([call(context, *command)])


def end(codes: Iterable[int]) -> None:
    """Fail with the first exit code that is not 0; a signal's counts from 128 as in a shell."""
    for code in codes:
        if code != 0:
            raise Exit(code=code if code > 0 else 128 - code)


def use_images(task: str, path: str) -> None:
    """Have the programs to come take their images from a file or folder, if a path is given."""
    if not path:
        return
    full = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
    if not os.path.exists(full):  # noqa: PTH110  # it raises nothing, whatever is given
        raise Exit(f"{task}: --data {path}: no such file or folder; correct it", 1)
    os.environ["POWTWO_DATA"] = full


def keep_memory() -> None:
    """Have the programs to come keep the memory they free, unless the user has settings."""
    settings = ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())
    os.environ.setdefault("GLIBC_TUNABLES", settings)


def only_accuracies() -> tuple[str, ...]:
    """Return options of `dvc exp show`: accuracies, and parameters that differ."""
    # A key that is also one of params.yaml stands in a column `metrics/accuracy.json:KEY`.
    keep = "|".join(f"(.*:)?{key}$" for key in _metric_keys("accuracy")) or "$"
    others = [f"{key}([.]|$)" for name in ("compare", "train") for key in _metric_keys(name)]
    drop = "|".join(["Created", ".*/", *others])  # with a slash: dependencies
    return ("--only-changed", "--no-pager", "--keep", keep, "--drop", drop)


def _metric_keys(name: str) -> list[str]:
    """Return the keys of a file of metrics; none where DVC cannot read it either, and says so."""
    try:
        return list(json.loads((ROOT / f"metrics/{name}.json").read_bytes()))
    except (OSError, ValueError):
        return []


def with_network(
    context: Context, name: str, options: Mapping[str, str], more: Iterable[str] = ()
) -> None:
    """Run a tool on an integer network's file; paths count from the current folder."""
    if not options["--network"]:
        raise Exit(f"{name}: no network; give --network FILE", 1)
    words = [
        (key, str(Path(path).expanduser().absolute())) for key, path in options.items() if path
    ]
    run(
        context,
        "python",
        "-m",
        f"powtwo.tools.{name}_network",
        *(word for pair in words for word in pair),
        *more,
    )


def tool(name: str) -> ModuleType:
    """Import a module of the library's tools, which costs too much for the tasks without them."""
    return importlib.import_module(f"powtwo.tools.{name}")
