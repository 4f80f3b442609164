"""Freeze the run in the work tree as `results/NAME/`: `python -m powtwo.tools.publish NAME`.

A published run of the same parameters and images is replaced whole; one of others only by --force.

The folder has the run's parameters, lock, metrics and tables, what trained it, the integer network
of the scheme that validation images choose, and the report with the tables that it links to. A name
that ends in `-seedN` is for the recipe of the name before it from another seed; such a run has
figures alone: neither network nor report.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.network import source
from powtwo.report import results
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sidecar.run_log import ask_git
from powtwo.tools import presets, published, status

FIGURES = ("params.yaml", "dvc.lock", "metrics/**/*.json", "plots/*.csv", "plots/layers/*.csv")
REPORT = "report/index.html"
PICTURE = "plots/schemes.png"
CODE = ("src", "dvc.yaml", "requirements.txt")
PRESET_SECTIONS = ("data.", "train.", "calibrate.", "evaluate.")  # that a preset's name stands for
SLACK = 60  # seconds that a log may be older than what its stage wrote, as after a copy


def main(arguments: list[str]) -> None:
    """Publish, and say what was written, or in one line why nothing was."""
    parser = argparse.ArgumentParser(prog="inv publish", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="of a-z, 0-9 and -")
    parser.add_argument("--also", action="append", default=[], help="a scheme, to keep its network")
    parser.add_argument("--force", action="store_true", help="replace a run of other parameters")
    options = parser.parse_args(arguments)
    with one_line_errors("publish"):
        done = "replaced" if (published.RESULTS / options.name).is_dir() else "published"
        info = publish(Path(), options.name, also=options.also, force=options.force)
        print(f"results/{options.name}: {done}; the best scheme is {info['scheme']}")
        if info["stages"]["train"] is None:
            print("what trained it is unknown: logs/train.json is missing or of another run")
        if info["commit"] is None:
            print("the code is of no commit: commit it before you publish, so that others find it")


def publish(
    root: Path, name: str, *, also: Sequence[str] = (), force: bool = False
) -> dict[str, Any]:
    """Write `results/NAME/` under `root`, whole or not at all, and return what `run.json` says.

    The integer networks of the schemes `also` are kept beside that of the best one.

    Raises:
        ValueError: where the name is not of [a-z0-9-], or is that of a preset which sets
            something else; the run is not up to date; a run of the same name but for the seed has
            other parameters; or, without `force`, one of the very name has.
    """
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(f"NAME = {name!r}: must be of a-z, 0-9 and -; choose another")
    if stale := list(status.changes(root)):
        raise ValueError(f"not up to date: {', '.join(stale[:4])}; run `inv repro` first")
    schemes = schema.load(root / "params.yaml").schemes
    if unknown := [each for each in also if each not in schemes]:
        raise ValueError(f"--also = {unknown[0]!r}: must be one of {', '.join(schemes)}")
    if others := results.leftovers(root, schemes):
        raise ValueError(f"{others[0].relative_to(root)}: of a removed scheme; run `inv prune`")
    best, folder = published.choose([published.load(root)]), root / published.RESULTS / name
    _check_network(root)
    published.check_recipe(root, published.other_seeds(root, name))
    _check_preset(root, name)
    if folder.exists() and not force:
        _check_replaceable(root, folder)
    network = None if published.recipe(name) != name else f"{best}.safetensors"
    info = {
        "scheme": best,
        "network": network,
        "commit": commit(root, _own_files(root)),
        # Of this stage alone: from the float network on every machine makes the same bytes.
        "stages": {"train": _log(root / "logs/train.json", root / "metrics/train.json")},
    }
    with files.atomic_folder(folder) as new:
        for path in _kept(root, with_report=network is not None):
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, new / path)
        for kept in dict.fromkeys([network, *(f"{each}.safetensors" for each in also)]):
            if kept:
                shutil.copyfile(root / "models/integer" / kept, new / kept)
        seeds = root / "logs" / published.SEEDS
        if seeds.is_file() and published.is_of_run(seeds, root):
            shutil.copyfile(seeds, new / published.SEEDS)
        files.write_json(new / published.RUN, info)
    return info


def _check_network(root: Path) -> None:
    """Refuse files of the user's network that Git does not keep: others could not repeat the run.

    Raises:
        ValueError: naming the first, and what to do.
    """
    for name in _own_files(root):
        if not ask_git("ls-files", "--", name, root=root):
            raise ValueError(
                f"{name}: the network is read of it, and Git does not have it; commit it first"
            )


def _own_files(root: Path) -> list[str]:
    """List the files of the user's that the network was read of."""
    model = schema.load(root / "params.yaml").model
    return list(source.recorded(root)) if model.files else []


def commit(root: Path, own: Sequence[str] = ()) -> str | None:
    """Return the commit that the code is of, and files of the user's; None where of none."""
    changed = ask_git("status", "--porcelain", "--", *CODE, *own, root=root)
    return None if changed else ask_git("rev-parse", "HEAD", root=root)


def _check_preset(root: Path, name: str) -> None:
    """Refuse a preset's name, and another seed's of it, for a run that differs in what it sets.

    Sections that no preset has, such as the network, are the run's own.
    """
    preset = published.recipe(name)
    if preset not in presets.names(root / "presets"):
        return
    own = published.flat(schema.load(root / "params.yaml").model_dump())
    sets = presets.parameters(preset, root / "params.yaml", root / "presets")
    for key, value in published.flat(sets.model_dump()).items():
        of_preset = key.startswith(PRESET_SECTIONS) and key not in published.MAY_DIFFER
        if of_preset and own[key] != value:
            raise ValueError(
                f"NAME = {name}: preset {preset} has another {key}; choose another name"
            )


def _check_replaceable(root: Path, folder: Path) -> None:
    """Refuse to replace a published run that other parameters or images made."""
    try:
        differ = published.differences(root, folder) - {"data.path"}
    except (OSError, ValueError, LookupError):
        differ = {"state: it is not whole"}
    if differ:
        raise ValueError(
            f"results/{folder.name}: was published with another {min(differ)}; choose another "
            "name, or replace it by --force"
        )


def _kept(root: Path, *, with_report: bool) -> Iterator[Path]:
    """Yield the files to copy, as paths from the root."""
    for pattern in FIGURES:
        yield from (path.relative_to(root) for path in sorted(root.glob(pattern)))
    if with_report:
        yield from (Path(REPORT), Path(PICTURE))
        page = (root / REPORT).read_text(encoding="utf-8")
        yield from map(Path, sorted(set(re.findall(r'href="\.\./([^"#]+)"', page))))


def _log(log: Path, written: Path) -> Any:
    """Return what a stage ran on, or None where that is not known.

    DVC can bring back an earlier run's files from its cache. The log is then of a later run, and
    older than the files.
    """
    if not log.is_file() or written.stat().st_mtime - log.stat().st_mtime > SLACK:
        return None
    return files.read_json(log)


if __name__ == "__main__":
    main(sys.argv[1:])
