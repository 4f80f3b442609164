"""Remove the files of removed schemes, and what killed processes left: `inv prune`.

All of it is what stages write. What a user keeps in the same folders under another kind of name
stays, and so does a folder of exports/ that is no stage's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from powtwo.core import files, scratch
from powtwo.core.params import ParamsError, parse_yaml, select
from powtwo.report import results
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import dvc_lock

PARAMS = "params.yaml"
MODELS = ("models/calibrated", "models/finetuned", "models/integer")


def main(arguments: Sequence[str], root: Path = Path()) -> None:
    """Remove, and print a line for each file; with --dry-run only the lines."""
    parser = argparse.ArgumentParser(prog="inv prune", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    dry_run = parser.parse_args(arguments).dry_run
    with one_line_errors("prune"):
        if (root / dvc_lock.LOCK).is_file():
            dvc_lock.read(root / dvc_lock.LOCK)  # before anything is removed
        for path in chain(scratch.leftovers(root), of_removed_schemes(root)):
            print(f"Removing {path.relative_to(root).as_posix()}")
            if not dry_run:
                scratch.remove(path)
        forget(root, dry_run=dry_run)


def forget(root: Path, *, dry_run: bool) -> None:
    """Take the stages of removed schemes out of dvc.lock, which DVC leaves there."""
    path = root / dvc_lock.LOCK
    if not path.is_file():
        return
    schemes, exported = _schemes(root)
    yaml = YAML()
    yaml.preserve_quotes = True  # an md5 of digits alone stays text
    lock = yaml.load(files.read_text(path))
    gone = []
    for name in lock["stages"]:
        stage, at, scheme = name.partition("@")
        if at and scheme not in (exported if stage == "export" else schemes):
            gone.append(name)
    for name in gone:
        print(f"Removing {name} from {dvc_lock.LOCK}")
        del lock["stages"][name]
    if gone and not dry_run:
        with files.atomic(path) as temporary:
            yaml.dump(lock, temporary)


def of_removed_schemes(root: Path) -> Iterator[Path]:
    """Yield every file, and folder of exports, of a scheme that params.yaml does not have.

    Raises:
        ValueError: where params.yaml is absent or has no schemes, of which nothing follows.
    """
    schemes, exported = _schemes(root)
    yield from results.leftovers(root, schemes)
    for folder in MODELS:
        paths = sorted((root / folder).glob("[!.]*.safetensors"))
        yield from (path for path in paths if path.stem not in schemes)
    for manifest in sorted(root.glob("exports/*/manifest.json")):
        if manifest.parent.name not in exported and _is_of_stage(manifest):
            yield manifest.parent


def _is_of_stage(manifest: Path) -> bool:
    """Tell whether a manifest is what `export` writes for a scheme, in its folder."""
    try:
        return bool(files.read_json(manifest)["scheme"] == manifest.parent.name)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _schemes(root: Path) -> tuple[list[str], list[str]]:
    """Return the names of the schemes, and of those that are exported."""
    path = root / PARAMS
    if not path.is_file():
        raise ParamsError(
            f"{PARAMS}: no such file; bring it back, or which schemes stay is unknown"
        )
    values: Any = parse_yaml(path.read_text(encoding="utf-8"))
    schemes, exported = select(values, "schemes"), select(values, "export.schemes")
    if not (schemes and isinstance(schemes, dict) and isinstance(exported, list)):
        raise ParamsError(f"{PARAMS}: schemes: must have names, and export.schemes be a list")
    return list(schemes), exported


if __name__ == "__main__":
    main(sys.argv[1:])
