"""A clone in which one experiment runs: `.dvc/tmp/experiments/NAME`, and its lock beside it.

The lock is taken away by the system when the process ends, however it ends. So a clone whose lock
is free was left by a process that was killed, and the next one removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from powtwo.core import files
from powtwo.sidecar import schema
from powtwo.sources import digest, place
from powtwo.tools import status
from powtwo.tools.experiments.overrides import Overrides
from powtwo.tools.experiments.worktree import WorkTree, clean_environment, experiments, git

FOLDER = Path(".dvc/tmp/experiments")
LOGS = Path("logs/experiments")
PATIENCE = 20  # seconds that stages have to end after Ctrl-C
ATTEMPTS = 3  # where DVC fails: clones share a cache, and may meet in it
# Of Git; DVC commits an experiment, and needs a name for it.
CONFIG = {"user.name": "experiment", "user.email": "experiment@localhost", "core.autocrlf": ""}
QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "advice.detachedHead=false")


@dataclass(frozen=True)
class Experiment:
    """What is to run."""

    name: str
    changes: Overrides
    text: str  # of params.yaml, with the changes
    params: schema.Params  # the same, checked


@dataclass(frozen=True)
class Failure:
    """Why an experiment failed, and when."""

    error: str
    ended: float  # seconds since 1970


@contextmanager
def claimed(root: Path, name: str) -> Iterator[bool]:
    """Yield whether the experiment `name` is ours alone to run, as long as the block runs."""
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / FOLDER / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except NotImplementedError:  # a file system without locks
        raise ValueError(
            f"{FOLDER}: this file system has no locks; use a local one, or mount it with them"
        ) from None
    try:
        yield True
    finally:
        lock.release()


def is_running(root: Path, name: str) -> bool:
    """Tell whether a process holds the lock of an experiment."""
    if not (root / FOLDER / f"{name}.lock").exists():
        return False
    with claimed(root, name) as free:
        return not free


def remove_stale(root: Path) -> None:
    """Remove the clones of processes that were killed, and say so."""
    for folder in [path for path in (root / FOLDER).glob("*") if path.is_dir()]:
        with claimed(root, folder.name) as free:
            if free and folder.exists():
                _remove(folder)
                print(f"{folder.name}: removed the clone of a killed run", file=sys.stderr)


def _remove(folder: Path) -> None:
    """Remove a clone; where a killed run left processes in it, end them first."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(folder.resolve()) and "python" in process.name():
                process.kill()
    for _ in range(PATIENCE):  # what they were writing may appear once more
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


def run(
    start: WorkTree, own: Experiment, variables: Mapping[str, str], show: Callable[[str], object]
) -> float:
    """Run an experiment that is claimed, bring its ref to the repository, and return the seconds.

    Args:
        start: the work tree that it starts from.
        own: the experiment.
        variables: of the environment of its stages.
        show: gets each line that DVC and the stages print, as it comes.

    Raises:
        ValueError: where it fails, with the line that says why.
    """
    root, name, folder = start.root, own.name, start.root / FOLDER / own.name
    if folder.exists():
        _remove(folder)
    log = root / LOGS / f"{name}.log"
    started = time.monotonic()
    try:
        environment = {**_environment(own.params), **variables}
        for left in reversed(range(ATTEMPTS)):
            _make(folder, start, own.text)
            if not _exp_run(folder, environment, log, show):
                break
            said = log.read_text(encoding="utf-8", errors="replace")
            if not (left and _is_of_cache(said)):
                raise ValueError(_reason(said))
            _remove(folder)
        bring(folder, root, name)
    except (ValueError, OSError) as error:
        seconds, line = time.monotonic() - started, " ".join(str(error).split())
        _note(root, name, seconds=seconds, error=line)
        raise ValueError(line) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - started
    _note(root, name, seconds=seconds)
    return seconds


def _make(folder: Path, start: WorkTree, text: str) -> None:
    """Put the work tree's state into a new repository that reads the objects of the other one.

    What is not committed is then staged, so that `dvc exp run` saves new files as well.
    """
    git(start.root, "init", "--quiet", "--template=", str(folder))
    shared = start.root / git(start.root, "rev-parse", "--git-common-dir")
    files.write_text(folder / ".git/objects/info/alternates", f"{shared / 'objects'}\n")
    if (shared / "shallow").is_file():
        shutil.copyfile(shared / "shallow", folder / ".git/shallow")
    for key, otherwise in CONFIG.items():
        try:
            value = git(start.root, "config", key)
        except ValueError:  # not set
            value = otherwise
        if value:
            git(folder, "config", key, value)
    git(folder, "update-ref", "--no-deref", "HEAD", start.head)
    git(folder, *QUIET, "read-tree", "--reset", "-u", start.tree)
    files.write_text(folder / "params.yaml", text)
    # Linked, since stages replace their outputs as a whole, and never write into one.
    cache = _cache(start.root)
    config = f'[cache]\n    dir = "{cache}"\n    type = "reflink,hardlink,symlink,copy"\n'
    files.write_text(folder / ".dvc/config.local", config)
    if (start.root / digest.MEMORY).is_file():
        (folder / digest.MEMORY).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(start.root / digest.MEMORY, folder / digest.MEMORY)


@lru_cache
def _cache(root: Path) -> Path:
    return root / status.dvc(root, "cache", "dir").strip()


def _environment(params: schema.Params) -> dict[str, str]:
    """Return the variables by which the clone finds the images, and runs no code but its own."""
    environment = clean_environment() | {"PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}
    environment.pop("PYTHONPATH", None)
    path = place.location(params.data)
    return environment | ({place.ENVIRONMENT: str(path.absolute())} if path else {})


def _exp_run(
    folder: Path, environment: Mapping[str, str], log: Path, show: Callable[[str], object]
) -> int:
    """Run `dvc exp run`, log and show what it prints, and return its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "exp", "run", "--name", folder.name]
    # What DVC keeps of a repository outside it would outlive the clone.
    site = {"DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site")}
    child = subprocess.Popen(
        command, cwd=folder, env={**environment, **site}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        with log.open("w", encoding="utf-8") as file:
            for line in child.stdout or ():
                file.write(line)
                file.flush()
                show(line)
        return child.wait()
    except BaseException:
        _end(child)
        raise


def _end(child: subprocess.Popen[str]) -> None:
    """End `dvc exp run` and the stage that it runs, as Ctrl-C would, or else by force."""
    if sys.platform == "win32":
        child.kill()
        return
    for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGKILL, PATIENCE)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
            break
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # a stage that outlived it


def bring(folder: Path, root: Path, name: str) -> None:
    """Bring an experiment's ref from its clone to the repository.

    Raises:
        ValueError: where DVC has made none, or Git fails.
    """
    ref = experiments(folder).get(name)
    if ref is None:
        raise ValueError("dvc exp run: made no experiment")
    git(root, *QUIET, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(folder),
        f"{ref}:{ref}")  # fmt: skip


def _is_of_cache(log: str) -> bool:
    """Tell whether DVC failed in its cache, and no stage did.

    Two runs of the same stage that end at once disturb each other there: one finds an entry that
    the other has just moved, or an object that it is about to link. Again, they do not.
    """
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")]
    signs = ("[Errno ", "without a confirmation")
    return not _is_of_stage(errors) and any(sign in line for sign in signs for line in errors)


def _is_of_stage(errors: Sequence[str]) -> bool:
    """Tell whether a stage failed, by the errors of DVC."""
    return any(" exited with " in line for line in errors)


def _reason(log: str) -> str:
    """Find the line that says why a run failed: a stage's last one, before DVC's own error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if line.startswith("ERROR:")]
    if not errors:
        return lines[-1] if lines else "dvc exp run: said nothing"
    before = [line for line in lines[: errors[0]] if "warning: " not in line.lower()]
    by_stage = _is_of_stage([lines[index] for index in errors])
    # A stage that a signal ended could say nothing.
    if not by_stage or re.search(r"exited with -\d+$", lines[errors[0]]):
        return lines[errors[0]].removeprefix("ERROR: ")
    if not before or before[-1].startswith(("> ", "Stage '", "Updating lock", "Reproducing exp")):
        return lines[errors[0]].removeprefix("ERROR: ")
    return before[-1]


def _note(root: Path, name: str, **values: float | str) -> None:
    with suppress(OSError):  # all that is lost are notes
        files.write_json(root / LOGS / f"{name}.json", values)


def seconds(root: Path, name: str) -> float | None:
    """Return how long a run took; None where another machine ran it, or its log is gone."""
    try:
        return float(files.read_json(root / LOGS / f"{name}.json")["seconds"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def failure(root: Path, name: str) -> Failure | None:
    """Return why the last run of an experiment failed; None where it did not."""
    try:
        note = root / LOGS / f"{name}.json"
        return Failure(str(files.read_json(note)["error"]), note.stat().st_mtime)
    except (OSError, ValueError, LookupError, TypeError):
        return None
