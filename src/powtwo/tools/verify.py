"""Rerun what follows the float checkpoint, and compare with `dvc.lock`: `inv verify [--train]`.

In a copy of the tracked files, in a temporary folder where no cache and no earlier output can help,
every stage after training runs again; each output must have the md5 that `dvc.lock` records. The
float checkpoint and what precedes it are brought from the work tree or from DVC's cache. `--train`
trains too: on another processor that gives other bytes, which are stated with the accuracy, and
the recorded checkpoint is verified from there on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import dvc_lock, status

TRAIN = "train"
LOG, METRICS = "logs/train.json", "metrics/train.json"
NOT_COPIED = ("metrics/", "plots/", "results/")  # what stages write again, and what none reads
REMEDY = "run `inv repro` if code, parameters or packages changed since; else it is a bug: tell us"


@dataclass(frozen=True)
class Stage:
    """A stage as `dvc.lock` has it."""

    name: str
    command: str
    reads: list[str]
    outputs: dict[str, str]  # path → md5; a folder's ends with .dir


def main(arguments: list[str], root: Path = Path()) -> int:
    """Verify, with a line for each stage; return 1 where an output differs."""
    parser = argparse.ArgumentParser(prog="verify")
    parser.add_argument("--train", action="store_true", help="train again as well")
    options = parser.parse_args(arguments)
    with one_line_errors("verify"), tempfile.TemporaryDirectory(prefix="powtwo-verify-") as folder:
        return verify(root, Path(folder), train=options.train)


def verify(root: Path, copy: Path, *, train: bool) -> int:
    """Rerun the stages in `copy`, an empty folder; return 1 where an output differs.

    Raises:
        ValueError: where `dvc.lock` lacks a stage, an input is nowhere, or a stage fails.
    """
    stages = stages_in_order(root)
    before = ancestors(stages, TRAIN)
    make_copy(root, copy)
    for stage in before:
        bring(stage, root, copy)
    faults = count = 0
    if train:
        faults += trained(stages[TRAIN], root, copy)
        bring(stages[TRAIN], root, copy)
    rerun = [stage for stage in stages.values() if stage not in before]
    for stage in rerun:
        if is_tuned(stage, stages) and not train:  # training, which no other processor repeats
            bring(stage, root, copy)
            print(f"{stage.name}: brought; --train trains it again")
            continue
        started = time.monotonic()
        run(stage, copy)
        differ = differences(stage, copy)
        print(f"{stage.name}: {_verdict(stage, differ)} ({time.monotonic() - started:.0f} s)")
        sys.stdout.flush()
        faults += len(differ)
        count += len(stage.outputs)
    verdict = "equal dvc.lock" if not faults else f"differ from dvc.lock; {REMEDY}"
    print(f"{faults or count} of {count} outputs of {len(rerun)} stages {verdict}")
    return int(faults > 0)


def stages_in_order(root: Path) -> dict[str, Stage]:
    """Return the stages of `dvc.lock`, each after those whose outputs it reads.

    Raises:
        ValueError: where it is broken, or lacks a stage of dvc.yaml.
    """
    stages = {
        name: _stage(name, values) for name, values in dvc_lock.read(root / dvc_lock.LOCK).items()
    }
    for name in [*status.stages(root), TRAIN]:
        if name not in stages:
            raise ValueError(f"dvc.lock: has no stage {name}; run `inv repro` first")
    order = TopologicalSorter({name: _parents(stage, stages) for name, stage in stages.items()})
    return {name: stages[name] for name in order.static_order()}


def _stage(name: str, values: dict[str, Any]) -> Stage:
    outputs = {out["path"]: out["md5"] for out in values.get("outs", [])}
    return Stage(name, values["cmd"], [each["path"] for each in values.get("deps", [])], outputs)


def is_tuned(stage: Stage, stages: dict[str, Stage]) -> bool:
    """Tell whether a stage trained on the integer grid, instead of handing its file on."""
    calibrated = stages.get(stage.name.replace("finetune@", "calibrate@"))
    if calibrated is None or calibrated is stage:
        return False
    return not set(calibrated.outputs.values()) & set(stage.outputs.values())


def _parents(stage: Stage, stages: dict[str, Stage]) -> list[str]:
    """Name the stages that write what a stage reads: a file, or files of a folder."""
    return [
        other.name
        for other in stages.values()
        if any(
            out == dep or out.startswith(f"{dep}/") for out in other.outputs for dep in stage.reads
        )
    ]


def ancestors(stages: dict[str, Stage], name: str) -> list[Stage]:
    """Return a stage and all that it needs."""
    needed = {name}
    for stage in reversed(stages.values()):
        if stage.name in needed:
            needed.update(_parents(stage, stages))
    return [stage for stage in stages.values() if stage.name in needed]


def make_copy(root: Path, copy: Path) -> None:
    """Copy the files that Git tracks, as they are in the work tree, without what stages write."""
    command = ["git", "ls-files", "-z"]
    try:
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise ValueError(
            "git ls-files: fails here, and tells what belongs to the project; clone the repository"
        ) from None
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        if (root / name).is_file() and not name.startswith(NOT_COPIED):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, copy / name)


def bring(stage: Stage, root: Path, copy: Path) -> None:
    """Copy a stage's recorded outputs, from the work tree or from DVC's cache.

    Raises:
        ValueError: where neither has one.
    """
    cache = Path(status.dvc(root, "cache", "dir").strip())
    for path, md5 in stage.outputs.items():
        places = (root / path, root / cache / "files/md5" / md5[:2] / md5[2:])
        place = next((each for each in places if each.is_file() and digest(each) == md5), None)
        if place is None:
            raise ValueError(
                f"{path}: neither the work tree nor DVC's cache has the one of dvc.lock "
                f"(md5 {md5}); run `inv repro` first"
            )
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, copy / path)


def run(stage: Stage, copy: Path) -> None:
    """Run a stage's command in the copy.

    Raises:
        ValueError: where it fails, with its last line.
    """
    words = [sys.executable if word == "python" else word for word in shlex.split(stage.command)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=copy, env=environment, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
        raise ValueError(f"{stage.name}: failed: {said[-1]}")


def differences(stage: Stage, copy: Path) -> list[str]:
    """Return the outputs that are not as `dvc.lock` has them."""
    return [path for path, md5 in stage.outputs.items() if digest(copy / path) != md5]


def digest(path: Path) -> str:
    """Return the md5 of a file, or of a folder as DVC computes it; nothing where there is none."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    inside = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    entries = [{"md5": digest(path / name), "relpath": name} for name in inside]
    text = json.dumps(entries, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir" if inside else ""


def trained(stage: Stage, root: Path, copy: Path) -> int:
    """Train again and say what differs; return how many outputs do that should not."""
    recorded = files.read_json(copy / METRICS)
    for path in stage.outputs:
        (copy / path).unlink()
    run(stage, copy)
    differ = differences(stage, copy)
    print(f"{stage.name}: {_verdict(stage, differ)}")
    if not differ:
        return 0
    found = files.read_json(copy / METRICS)
    for key in ("validation_accuracy", "test_accuracy"):
        print(f"{stage.name}: {key} {found[key]} here, {recorded[key]} in dvc.lock")
    ran = files.read_json(copy / LOG)
    here = {key: ran[key] for key in ("processor", "threads", "torch")}
    there = {key: _log(stage, root).get(key, "unknown") for key in here}
    if here == there:
        return len(differ)
    print(
        f"{stage.name}: not counted, for dvc.lock's was trained on {_listed(there)}, this one on "
        f"{_listed(here)}; the rest follows from dvc.lock's checkpoint"
    )
    return 0


def _log(stage: Stage, root: Path) -> dict[str, Any]:
    """Return what the recorded training ran on; nothing where its log is not at hand."""
    log: dict[str, Any] = {}
    if (root / LOG).is_file() and digest(root / METRICS) == stage.outputs[METRICS]:
        log = files.read_json(root / LOG)
    return log


def _listed(circumstances: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in circumstances.items())


def _verdict(stage: Stage, differ: list[str]) -> str:
    equal = len(stage.outputs) - len(differ)
    return "; ".join(
        [f"{path} differs" for path in differ] + [f"{equal} outputs equal"] * (equal > 0)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
