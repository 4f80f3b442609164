"""Tasks, listed by `inv --list`. A task only composes commands that also work without it.

Nothing heavy is imported here, so that `inv repro` with nothing to do is as quick as `dvc repro`.
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
from types import ModuleType

from invoke import Context, Exit, task

ROOT = Path(__file__).resolve().parent
OUTPUTS = ("data/source.json", "data/dataset.npz", "models", "exports", "report", "logs",
           "dvc_plots")  # fmt: skip

DEBUG = "POWTWO_DEBUG"  # environment variable: 1 shows tracebacks, of whatever a task starts
if "--debug" in takewhile(lambda word: word != "--", sys.argv):
    os.environ[DEBUG] = "1"

# Each step of training allocates and frees the same big blocks. glibc hands them back to the
# system, and the next step pays for their pages anew. These settings keep them. Only Linux reads
# them, as a process starts, and no byte of a result depends on them.
TUNABLES = {
    "mmap_max": 0,  # blocks; none gets a mapping of its own, which would end when it is freed
    "trim_threshold": 2**33,  # bytes; the end of the heap stays as well
    "arena_max": 1,  # heaps; further ones are of 64 MB at most and shrink
    "hugetlb": 1,  # ask for pages of 2 MB, where the system waits to be asked
}


def _optional(name: str, *arguments: str) -> list[str]:
    """Make as many arguments of the task `name` positional as words follow it.

    Invoke requires every positional argument; this lets `inv bench` stand beside `inv bench NAME`.
    """
    words = sys.argv[sys.argv.index(name) + 1 :] if name in sys.argv else []
    values = takewhile(lambda word: not word.startswith("-"), words)
    return [argument for argument, _ in zip(arguments, values, strict=False)]


def _rest() -> list[str]:
    """Return what follows `--` on the command line; the command gets it unchanged."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _call(context: Context, *command: str) -> int:
    """Show a command, run it at the root with this terminal, and return its exit code."""
    if not context.config.run.dry:
        _tool("no_git").tell_dvc(ROOT)
    print("$", shlex.join(command), file=sys.stderr, flush=True)
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if context.config.run.dry:
        return 0
    # The command gets a Ctrl-C as well, and must have time to end its stages. A handler that does
    # nothing is the command's default again; one that is ignored it would inherit.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.Popen(command, cwd=ROOT, env=environment).wait()
    except FileNotFoundError:
        raise Exit(f"{command[0]}: not found; use ./inv, or activate .venv", 127) from None
    finally:
        signal.signal(signal.SIGINT, before)


def _need_git(task: str) -> None:
    if not _tool("no_git").has_git(ROOT):
        raise Exit(f"{task}: no Git here, whose commits it needs; clone the repository", 1)


def _run(context: Context, *command: str) -> None:
    """Run a command; where it fails, end with its exit code and without a traceback."""
    _end([_call(context, *command)])


def _end(codes: Iterable[int]) -> None:
    """Fail with the first exit code that is not 0; a signal's counts from 128 as in a shell."""
    for code in codes:
        if code != 0:
            raise Exit(code=code if code > 0 else 128 - code)


def _keep_memory() -> None:
    """Have the programs to come keep the memory they free, unless the user has settings."""
    settings = ":".join(f"glibc.malloc.{name}={value}" for name, value in TUNABLES.items())
    os.environ.setdefault("GLIBC_TUNABLES", settings)


@task(help={"hooks": "also install the Git hooks, which lint every commit"})
def setup(context: Context, hooks: bool = False) -> None:
    """Install the pinned packages, and Git hooks with --hooks"""
    if hooks:
        _need_git("setup --hooks")
    _run(context, "python", "-m", "pip", "install", "--quiet", "-r", "requirements.txt")
    if hooks:
        _run(context, "pre-commit", "install")


@task(
    iterable=["targets"],
    help={
        "preset": "a preset to use first; `inv use` lists them",
        "targets": "stages to run instead of all, such as evaluate@lab; may be repeated",
        "data": "archive or folder of images, wherever it lies; sets POWTWO_DATA",
    },
)
def repro(
    context: Context, preset: str = "", targets: list[str] | None = None, data: str = ""
) -> None:
    """Run every stage that is not up to date"""
    if data:
        path = os.path.abspath(os.path.expanduser(data))  # noqa: PTH100, PTH111
        if not os.path.exists(path):  # noqa: PTH110  # it raises nothing, whatever is given
            raise Exit(f"repro: --data {data}: no such file or folder; correct it", 1)
        os.environ["POWTWO_DATA"] = path
    if preset:
        _use(context, preset)
    _keep_memory()
    if not context.config.run.dry:
        _mend_lock()
    stages = [stage for words in targets or [] for stage in words.replace(",", " ").split()]
    _run(context, "dvc", "repro", *stages, *_rest())


def _mend_lock() -> None:
    try:
        _tool("dvc_lock").mend(ROOT)
    except (ValueError, OSError) as error:
        raise Exit(f"repro: {error}", 1) from None


@task
def status(context: Context) -> None:
    """Say which stages are not up to date, and why"""
    _run(context, "python", "-m", "powtwo.tools.status")


@task(positional=_optional("use", "preset"), help={"preset": "a file of presets/, without .yaml"})
def use(context: Context, preset: str | None = None) -> None:
    """Write a preset's values into params.yaml, or list presets"""
    if preset:
        _use(context, preset)
    else:
        print("\n".join(_tool("presets").names(ROOT / "presets")))


def _use(context: Context, preset: str) -> None:
    presets = _tool("presets")
    if context.config.run.dry:
        return
    try:
        presets.use(preset, ROOT / "params.yaml", ROOT / "presets")
    except (ValueError, OSError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        raise Exit(f"use: {error}", 1) from None
    print(f"params.yaml: preset {preset}", file=sys.stderr)


def _tool(name: str) -> ModuleType:
    """Import a module of the library's tools, which costs too much for the tasks without them."""
    sys.path.insert(0, str(ROOT / "src"))
    return importlib.import_module(f"powtwo.tools.{name}")


@task(
    positional=_optional("diff", "old", "new"),
    help={"old": "revision, HEAD by default", "new": "revision, the work tree by default"},
)
def diff(context: Context, old: str | None = None, new: str | None = None) -> None:
    """Compare parameters and metrics with HEAD, or OLD with NEW"""
    _need_git("diff")
    revisions = [revision for revision in (old, new) if revision]
    _run(context, "dvc", "params", "diff", *revisions)
    _run(context, "dvc", "metrics", "diff", *revisions)


@task
def metrics(context: Context) -> None:
    """Show every metric of the last run"""
    _run(context, "dvc", "metrics", "show", *_rest())


@task
def experiments(context: Context) -> None:
    """List experiments: accuracies, and parameters that differ"""
    _need_git("experiments")
    # A key that is also one of params.yaml stands in a column `metrics/accuracy.json:KEY`.
    keep = "|".join(f"(.*:)?{key}$" for key in _metric_keys("accuracy")) or "$"
    others = [f"{key}([.]|$)" for name in ("compare", "train") for key in _metric_keys(name)]
    drop = "|".join(["Created", ".*/", *others])  # with a slash: dependencies
    options = ("--only-changed", "--no-pager", "--keep", keep, "--drop", drop)
    _run(context, "dvc", "exp", "show", *options, *_rest())


def _metric_keys(name: str) -> list[str]:
    """Return the keys of a file of metrics; none where DVC cannot read it either, and says so."""
    try:
        return list(json.loads((ROOT / f"metrics/{name}.json").read_bytes()))
    except (OSError, ValueError):
        return []


@task(name="test", help={"fast": "leave out the tests that start processes, train or run DVC"})
def run_tests(context: Context, fast: bool = False) -> None:
    """Run the tests of the code; arguments after -- go to pytest"""
    quick = ["-m", "not slow and not pipeline"] if fast else []
    _run(context, "pytest", "-n", "logical", "--dist", "worksteal", *quick, *_rest())


@task
def check(context: Context) -> None:
    """Check that dvc.lock, README, docs and results are current"""
    _run(context, "python", "-m", "powtwo.tools.check", *_rest())


@task(help={"fix": "correct what ruff can correct, and format"})
def lint(context: Context, fix: bool = False) -> None:
    """Check style, format and types"""
    ruff = ["ruff check --fix", "ruff format"] if fix else ["ruff check", "ruff format --check"]
    _end([_call(context, *command.split()) for command in [*ruff, "mypy"]])


@task(positional=_optional("bench", "name"), help={"name": "a file of benchmarks/, without .py"})
def bench(context: Context, name: str | None = None) -> None:
    """Measure speed: train, or another NAME of benchmarks/"""
    name = name or "train"
    known = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    if name not in known:
        raise Exit(f"bench: {name!r}: no such benchmark; use one of {', '.join(known)}", 1)
    _keep_memory()
    _run(context, "python", f"benchmarks/{name}.py", *_rest())


@task(help={"classes": "outputs of the last layer, 10 by default"})
def layers(context: Context, classes: int = 10) -> None:
    """List the network's layers: shapes, parameters, MACs, bytes"""
    _run(context, "python", "-m", "powtwo.tools.layers", "--classes", str(classes))


@task(name="verify-export")
def verify_export(context: Context) -> None:
    """Run every file of exports/ against its network"""
    _run(context, "python", "-m", "powtwo.tools.exports.verify", *_rest())


@task(help={"train": "train again as well; on another processor its bytes may differ"})
def verify(context: Context, train: bool = False) -> None:
    """Rerun what follows training in a copy, and compare"""
    _run(context, "python", "-m", "powtwo.tools.verify", *["--train"] * train)


@task(positional=["name"], help={"name": "a folder of results/, of a-z, 0-9 and -"})
def publish(context: Context, name: str) -> None:
    """Freeze the current run as results/NAME"""
    _need_git("publish")
    _run(context, "python", "-m", "powtwo.tools.publish", name)


@task(
    positional=[],
    help={
        "network": "a file such as results/NAME/SCHEME.safetensors",
        "data": "archive or folder of images; without it, those that params.yaml names",
    },
)
def evaluate(context: Context, network: str = "", data: str = "") -> None:
    """Run an integer network's file on test images"""
    _with_network(context, "evaluate", {"--network": network, "--data": data})


@task(
    positional=[],
    help={
        "network": "a file such as results/NAME/SCHEME.safetensors",
        "data": "archive or folder of images; without it, those that params.yaml names",
        "out": "the folder to write; build/export/SCHEME by default",
        "strict": "refuse what a format cannot express, instead of leaving the format out",
        "prefix": "of the names in C; the scheme by default",
        "packed": "weights of 4 bits and fewer as packed words in C and memory images",
    },
)
def export(  # noqa: PLR0917
    context: Context,
    network: str = "",
    data: str = "",
    out: str = "",
    strict: bool = False,
    prefix: str = "",
    packed: bool = False,
) -> None:
    """Export an integer network's file to C, RTL and ONNX"""
    paths = {"--network": network, "--data": data, "--out": out}
    more = ["--strict"] * strict + ["--prefix", prefix] * bool(prefix) + ["--packed"] * packed
    _with_network(context, "export", paths, more)


def _with_network(
    context: Context, name: str, options: Mapping[str, str], more: Iterable[str] = ()
) -> None:
    if not options["--network"]:
        raise Exit(f"{name}: no network; give --network FILE", 1)
    words = [
        (key, str(Path(path).expanduser().absolute())) for key, path in options.items() if path
    ]
    _run(
        context,
        "python",
        "-m",
        f"powtwo.tools.{name}_network",
        *(word for pair in words for word in pair),
        *more,
    )


@task(help={"screenshot": "also the picture of the report, for which a browser is needed"})
def docs(context: Context, screenshot: bool = False) -> None:
    """Write the generated tables and pictures of README and docs"""
    _run(context, "python", "-m", "powtwo.tools.docs")
    if screenshot:
        _run(context, "python", "-m", "powtwo.tools.docs.screenshot")


@task(
    help={
        "cache": "also remove DVC's cache: the next run then computes everything again",
        "checkpoints": "also remove checkpoints of training, which may hold hours of work",
    }
)
def clean(context: Context, cache: bool = False, checkpoints: bool = False) -> None:
    """Remove what stages wrote; `inv repro` brings it back"""
    outputs = [*OUTPUTS, *[".dvc/cache"] * cache, *["checkpoints"] * checkpoints]
    if _tool("no_git").has_git(ROOT):
        _run(context, "git", "clean", "-fdX", "--", *outputs)  # what is in Git stays
    elif not context.config.run.dry:
        _tool("no_git").remove(ROOT, outputs)


@task
def prune(context: Context) -> None:
    """Remove files of removed schemes and of killed stages"""
    _run(context, "python", "-m", "powtwo.tools.prune", *_rest())
