"""Tasks, listed by `inv --list`. A task only composes commands that also work without it.

Nothing heavy is imported here, so that `inv repro` with nothing to do is as quick as `dvc repro`.
"""

from __future__ import annotations

import os
import sys
from itertools import takewhile
from pathlib import Path

from invoke import Context, Exit, task

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))
from powtwo.tools.commands import (  # noqa: E402
    call,
    end,
    keep_memory,
    need_git,
    only_accuracies,
    optional,
    rest,
    run,
    tool,
    use_images,
    with_network,
)  # fmt: skip

OUTPUTS = ("data/source.json", "data/dataset.npz", "models", "exports", "report", "logs",
           "dvc_plots")  # fmt: skip

EXPERIMENTS = "powtwo.tools.experiments"
# Help of options that several tasks have.
IMAGES = "archive or folder of images, wherever it lies; sets POWTWO_DATA"
OTHER_IMAGES = "archive or folder of images; without it, those that params.yaml names"
NETWORK = "a file such as results/NAME/SCHEME.safetensors"
DEBUG = "POWTWO_DEBUG"  # environment variable: 1 shows tracebacks, of whatever a task starts
if "--debug" in takewhile(lambda word: word != "--", sys.argv):
    os.environ[DEBUG] = "1"


@task(help={"hooks": "also install the Git hooks, which lint every commit"})
def setup(context: Context, hooks: bool = False) -> None:
    """Install the pinned packages, and Git hooks with --hooks"""
    if hooks:
        need_git("setup --hooks")
    run(context, "python", "-m", "pip", "install", "--quiet", "-r", "requirements.txt")
    if hooks:
        run(context, "pre-commit", "install")


@task(
    iterable=["targets"],
    help={
        "preset": "a preset to use first; `inv use` lists them",
        "targets": "stages to run instead of all, such as evaluate@lab; may be repeated",
        "data": IMAGES,
    },
)
def repro(
    context: Context, preset: str = "", targets: list[str] | None = None, data: str = ""
) -> None:
    """Run every stage that is not up to date"""
    use_images("repro", data)
    if preset:
        _use(context, preset)
    keep_memory()
    if not context.config.run.dry:
        _mend_lock()
    stages = [stage for words in targets or [] for stage in words.replace(",", " ").split()]
    run(context, "python", "-m", "powtwo.tools.repro", *stages, *rest())


def _mend_lock() -> None:
    try:
        tool("dvc_lock").mend(ROOT)
    except (ValueError, OSError) as error:
        raise Exit(f"repro: {error}", 1) from None


@task
def status(context: Context) -> None:
    """Say which stages are not up to date, and why"""
    run(context, "python", "-m", "powtwo.tools.status")


@task(positional=optional("use", "preset"), help={"preset": "a file of presets/, without .yaml"})
def use(context: Context, preset: str | None = None) -> None:
    """Write a preset's values into params.yaml, or list presets"""
    if preset:
        _use(context, preset)
    else:
        print("\n".join(tool("presets").names(ROOT / "presets")))


def _use(context: Context, preset: str) -> None:
    presets = tool("presets")
    if context.config.run.dry:
        return
    try:
        presets.use(preset, ROOT / "params.yaml", ROOT / "presets")
    except (ValueError, OSError) as error:
        if os.environ.get(DEBUG) == "1":
            raise
        raise Exit(f"use: {error}", 1) from None
    print(f"params.yaml: preset {preset}", file=sys.stderr)


@task(
    positional=optional("diff", "old", "new"),
    help={"old": "revision, HEAD by default", "new": "revision, the work tree by default"},
)
def diff(context: Context, old: str | None = None, new: str | None = None) -> None:
    """Compare parameters and metrics with HEAD, or OLD with NEW"""
    need_git("diff")
    revisions = [revision for revision in (old, new) if revision]
    run(context, "python", "-m", "powtwo.tools.diff", *revisions)


@task
def metrics(context: Context) -> None:
    """Show every metric of the last run"""
    run(context, "dvc", "metrics", "show", *rest())


@task
def experiments(context: Context) -> None:
    """List experiments: accuracies, and parameters that differ"""
    need_git("experiments")
    run(context, "dvc", "exp", "show", *only_accuracies(), *rest())


@task(
    positional=["name"],
    iterable=["set"],
    help={
        "name": "a new one, of letters, digits and . _ -",
        "set": "key=value of params.yaml, such as train.epochs=8; may be repeated",
        "data": IMAGES,
    },
)
def exp(context: Context, name: str, set: list[str] | None = None, data: str = "") -> None:
    """Run an experiment in a clone; the work tree stays as it is"""
    need_git("exp")
    use_images("exp", data)
    keep_memory()
    settings = [word for each in set or [] for word in ("-s", each)]
    run(context, "python", "-m", f"{EXPERIMENTS}.one", name, *settings)


@task(
    positional=["file"],
    help={
        "file": "YAML: `grid` with values for each key, or `points`",
        "part": "K/N: every N-th point, from point K on",
        "dry-run": "list the points and their states",
        "data": IMAGES,
    },
)
def sweep(
    context: Context, file: str, part: str = "1/1", dry_run: bool = False, data: str = ""
) -> None:
    """Run the experiments of a file that are not done yet"""
    need_git("sweep")
    use_images("sweep", data)
    keep_memory()
    path = str(Path(file).absolute())
    listing = ["--dry-run"] * dry_run
    run(context, "python", "-m", f"{EXPERIMENTS}.sweep", path, "--part", part, *listing)


@task(
    positional=[],
    help={
        "csv": "as CSV, with full keys and digits",
        "markdown": "as a Markdown table",
        "sort": "a column; validation_accuracy by default",
        "scheme": "this scheme of each experiment",
    },
)
def leaderboard(
    context: Context, csv: bool = False, markdown: bool = False, sort: str = "", scheme: str = ""
) -> None:
    """Compare experiments: accuracy, energy, parameters"""
    need_git("leaderboard")
    options = ["--csv"] * csv + ["--markdown"] * markdown
    options += ["--sort", sort] * bool(sort) + ["--scheme", scheme] * bool(scheme)
    run(context, "python", "-m", f"{EXPERIMENTS}.leaderboard", *options)


@task(
    positional=["scheme"],
    help={
        "scheme": "of params.yaml: what it starts from",
        "ratio": "how many times less energy than FP32 at least, such as 60",
        "budget-uj": "or the most energy an image may take, in µJ",
        "table": "of prices; energy.all_widths by default",
        "candidates": "formats such as uniform2,power_of_two3a4, or a YAML file",
        "images": "validation images to measure on; evaluate.sensitivity_images by default",
        "tries": "predicted assignments to measure in a round, 5 by default",
        "rounds": "how often to search on from what was found, 1 by default",
        "name": "of the scheme that is found; SCHEME-mixed by default",
        "add": "add that scheme to params.yaml",
    },
)
def search(  # noqa: PLR0917
    context: Context,
    scheme: str,
    ratio: str = "",
    budget_uj: str = "",
    table: str = "",
    candidates: str = "",
    images: str = "",
    tries: str = "",
    rounds: str = "",
    name: str = "",
    add: bool = False,
) -> None:
    """Search the bits of each layer under an energy budget"""
    if candidates.endswith((".yaml", ".yml")):
        candidates = str(Path(candidates).absolute())
    options = {
        "--ratio": ratio, "--budget-uj": budget_uj, "--table": table, "--images": images,
        "--candidates": candidates, "--tries": tries, "--rounds": rounds, "--name": name,
    }  # fmt: skip
    words = [word for pair in options.items() if pair[1] for word in pair] + ["--add"] * add
    run(context, "python", "-m", "powtwo.tools.search.run", scheme, *words)


@task(name="test", help={"fast": "leave out the tests that start processes, train or run DVC"})
def run_tests(context: Context, fast: bool = False) -> None:
    """Run the tests of the code; arguments after -- go to pytest"""
    quick = ["-m", "not slow and not pipeline"] if fast else []
    run(context, "pytest", "-n", "logical", "--dist", "worksteal", *quick, *rest())


@task
def check(context: Context) -> None:
    """Check that dvc.lock, README, docs and results are current"""
    run(context, "python", "-m", "powtwo.tools.check", *rest())


@task(help={"fix": "correct what ruff can correct, and format"})
def lint(context: Context, fix: bool = False) -> None:
    """Check style, format and types"""
    ruff = ["ruff check --fix", "ruff format"] if fix else ["ruff check", "ruff format --check"]
    end([call(context, *command.split()) for command in [*ruff, "mypy"]])


@task(positional=optional("bench", "name"), help={"name": "a file of benchmarks/, without .py"})
def bench(context: Context, name: str | None = None) -> None:
    """Measure speed: train, or another NAME of benchmarks/"""
    name = name or "train"
    known = sorted(path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py"))
    if name not in known:
        raise Exit(f"bench: {name!r}: no such benchmark; use one of {', '.join(known)}", 1)
    keep_memory()
    run(context, "python", f"benchmarks/{name}.py", *rest())


@task(help={"classes": "outputs of the last layer; by default 10, or those of your network"})
def layers(context: Context, classes: str = "") -> None:
    """List the network's layers: shapes, parameters, MACs, bytes"""
    run(
        context, "python", "-m", "powtwo.tools.layers", *(["--classes", classes] if classes else [])
    )


@task(name="verify-export")
def verify_export(context: Context) -> None:
    """Run every file of exports/ against its network"""
    run(context, "python", "-m", "powtwo.tools.exports.verify", *rest())


@task(help={"train": "train again as well; on another processor its bytes may differ"})
def verify(context: Context, train: bool = False) -> None:
    """Rerun what follows training in a copy, and compare"""
    run(context, "python", "-m", "powtwo.tools.verify", *["--train"] * train)


@task(
    positional=["name"],
    iterable=["also"],
    help={
        "name": "a folder of results/, of a-z, 0-9 and -",
        "also": "a scheme, to keep its network beside the best one's; may stand several times",
        "force": "replace a run of other parameters or images that has this name",
    },
)
def publish(context: Context, name: str, also: list[str], force: bool = False) -> None:
    """Freeze the current run as results/NAME"""
    need_git("publish")
    kept = [f"--also={scheme}" for scheme in also]
    run(context, "python", "-m", "powtwo.tools.publish", name, *kept, *["--force"] * force)


@task(
    positional=[],
    help={
        "network": NETWORK,
        "data": OTHER_IMAGES,
    },
)
def evaluate(context: Context, network: str = "", data: str = "") -> None:
    """Run an integer network's file on test images"""
    with_network(context, "evaluate", {"--network": network, "--data": data})


@task(
    positional=[],
    help={
        "network": NETWORK,
        "data": OTHER_IMAGES,
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
    with_network(context, "export", paths, more)


@task(help={"screenshot": "also the picture of the report, for which a browser is needed"})
def docs(context: Context, screenshot: bool = False) -> None:
    """Write the generated tables and pictures of README and docs"""
    run(context, "python", "-m", "powtwo.tools.docs")
    if screenshot:
        run(context, "python", "-m", "powtwo.tools.docs.screenshot")


@task(
    help={
        "cache": "also remove DVC's cache: the next run then computes everything again",
        "checkpoints": "also remove checkpoints of training, which may hold hours of work",
    }
)
def clean(context: Context, cache: bool = False, checkpoints: bool = False) -> None:
    """Remove what stages wrote; `inv repro` brings it back"""
    outputs = [*OUTPUTS, *[".dvc/cache"] * cache, *["checkpoints"] * checkpoints]
    if tool("no_git").has_git(ROOT):
        run(context, "git", "clean", "-fdX", "--", *outputs)  # what is in Git stays
    elif not context.config.run.dry:
        tool("no_git").remove(ROOT, outputs)


@task
def prune(context: Context) -> None:
    """Remove files of removed schemes and of killed stages"""
    run(context, "python", "-m", "powtwo.tools.prune", *rest())
