"""Publishing: a run of the pipeline frozen as `results/NAME/`.

The folder has the metrics, the plots, the parameters and the lock of the run, what its stages ran
on, the report, and the integer network of the scheme that validation images choose. A run whose
name ends in `-seedN` stands beside the run without that ending: the same recipe from another seed.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.report import results
from powtwo.sidecar import schema as params
from powtwo.sidecar.run_log import ask_git
from powtwo.tools import presets, published

TEXTS = ("params.yaml", "dvc.lock")
SEEDS = "seeds.csv"  # what `inv bench seeds` measured of the run, written to logs/
MEASURED = ("metrics/**/*.json", "plots/**/*.csv", "plots/**/*.png", "report/index.html")
CODE = ("src", "dvc.yaml", "requirements.txt")
SLACK = 60  # seconds that a log may be older than what its stage wrote, as after a copy
# What each stage writes, beside which its log in logs/ must be: else it is of another run.
WRITTEN = {
    "download": "metrics/download.json",
    "train": "metrics/train.json",
    "compare": "metrics/compare.json",
}
WRITTEN_BY_SCHEME = {
    "calibrate": "models/calibrated/{}.safetensors",
    "convert": "metrics/convert/{}.json",
    "evaluate": "metrics/evaluate/{}.json",
    "energy": "metrics/energy/{}.json",
}


def publish(root: Path, name: str) -> tuple[dict[str, Any], bool]:
    """Write `results/NAME/` under `root`, whole or not at all.

    Returns:
        What `run.json` says, and whether a run of this name stood there before.

    Raises:
        ValueError: where the name is not of [a-z0-9-], or is that of a preset which sets
            something else; the run is not up to date; a metric is missing; or a run of the same
            name but for the seed has other parameters.
    """
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(f"NAME = {name!r}: must be of a-z, 0-9 and -; choose another")
    check_up_to_date(root)
    given = params.load(root / "params.yaml")
    found = results.read(root, list(given.schemes))
    for path in ("metrics/download.json", "metrics/compare.json"):
        if not (root / path).is_file():
            raise ValueError(f"{path}: no such file; make it with `inv repro`")
    published.check_family(root, name)
    _check_preset(root, name, given)
    network = root / f"models/integer/{found.best.name}.safetensors"
    folder = root / published.RESULTS / name
    seeds = _seeds(root, folder, given.calibrate.seed)
    about = {
        "seeds": seeds is not None,
        "scheme": found.best.name,
        "network": network.name,
        "commit": ask_git("rev-parse", "HEAD", root=root),
        "changed_since_commit": _changed(root),
        "stages": {stage: _log(root, *paths) for stage, paths in _logs(list(given.schemes))},
    }
    replaced = folder.exists()
    with files.atomic_folder(folder) as new:
        _copy(root, new)
        if seeds is not None:
            shutil.copyfile(seeds, new / SEEDS)
        shutil.copyfile(network, new / network.name)
        files.write_json(new / published.FILE, about)
    return about, replaced


def check_up_to_date(root: Path) -> None:
    """Refuse a run whose stages `dvc status` does not find as its lock has them."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        stale = list(json.loads(done.stdout)) if done.returncode == 0 else None
    except ValueError:
        stale = None
    if stale is None:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ValueError(f"dvc status: {reason}; mend it, and publish again")
    if stale:
        shown = ", ".join(stale[:4]) + (f" and {len(stale) - 4} more" if len(stale) > 4 else "")
        raise ValueError(f"not up to date: {shown}; run `inv repro` first")


def _check_preset(root: Path, name: str, given: params.Params) -> None:
    """Refuse a preset's name, and another seed's of it, for a run that differs in what it sets.

    Keys that no preset speaks of, such as the network, are the run's own.
    """
    preset = published.recipe(name)
    if preset not in presets.names(root / "presets"):
        return
    wanted = presets.parameters(preset, root / "params.yaml", root / "presets")
    for section in ("data", "train", "calibrate", "evaluate"):
        own, other = (getattr(values, section).model_dump() for values in (given, wanted))
        for key in own:
            if own[key] != other[key] and f"{section}.{key}" not in published.MAY_DIFFER:
                raise ValueError(
                    f"NAME = {name}: preset {preset} has another {section}.{key}; choose another "
                    "name"
                )


def _copy(root: Path, new: Path) -> None:
    measured = (path for pattern in MEASURED for path in sorted(root.glob(pattern)))
    for path in [*(root / text for text in TEXTS), *measured]:
        target = new / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _seeds(root: Path, folder: Path, seed: int) -> Path | None:
    """Find the benchmark of calibration seeds, just made or published before, if it is of this run.

    It is where the run's own seed has the run's own figures.
    """
    for path in (root / "logs" / SEEDS, folder / SEEDS):
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            if rows and all(_is_measured(root, row, f"seed_{seed}") for row in rows):
                return path
    return None


def _is_measured(root: Path, row: Mapping[str, str], column: str) -> bool:
    path = root / f"metrics/evaluate/{row['scheme']}.json"
    value = row.get(column)
    return bool(value and path.is_file() and files.read_json(path)[row["metric"]] == float(value))


def _logs(schemes: list[str]) -> list[tuple[str, tuple[str, str]]]:
    """Return each stage with its log and what the stage wrote."""
    pairs = list(WRITTEN.items())
    for stage, file in WRITTEN_BY_SCHEME.items():
        pairs += [(f"{stage}-{scheme}", file.format(scheme)) for scheme in schemes]
    return [(stage, (f"logs/{stage}.json", file)) for stage, file in pairs]


def _log(root: Path, log: str, written: str) -> Any:
    """Return what a stage ran on, or None where that is not known.

    DVC can bring back an earlier run's files from its cache. The log is then of a later run, and
    older than the files.
    """
    if not (root / log).is_file():
        return None
    age = (root / written).stat().st_mtime - (root / log).stat().st_mtime
    return files.read_json(root / log) if age <= SLACK else None


def _changed(root: Path) -> list[str]:
    """List the files of code that differ from the commit, or are not in it."""
    known = ask_git("diff", "--name-only", "HEAD", "--", *CODE, root=root) or ""
    new = ask_git("ls-files", "--others", "--exclude-standard", "--", *CODE, root=root) or ""
    return sorted([*known.splitlines(), *new.splitlines()])
