"""How much a scheme's accuracy varies with the draw of the images that calibrate it.

Each scheme is calibrated, fine-tuned where it says so, converted and evaluated once for each seed
by the pipeline's own stages,
in a folder of their own, from the images and the float network that lie in this one. Only
`calibrate.seed` differs; the images that observers see are always training images. The table has a
line for each scheme and metric: its mean, its sample standard deviation, and its value by seed.

    inv bench seeds [-- --schemes lab minmax-ceil --seeds 0 1 2 --out logs/seeds.csv]

`inv publish NAME` copies the table to the published run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from powtwo.core import files  # noqa: E402
from powtwo.core.params import parse_yaml  # noqa: E402
from powtwo.report import results  # noqa: E402
from powtwo.sidecar import schema  # noqa: E402
from powtwo.sidecar.one_line import one_line_errors  # noqa: E402

NEEDED = ("data/dataset.npz", "models/float.safetensors", "models/float-classes.npz")
STAGES = ("calibrate", "finetune", "convert", "evaluate")
KEYS = ("accuracy", "drop_points", "agreement", "min_sqnr_db", "validation_accuracy")


def main() -> None:
    options = _options()
    with one_line_errors("seeds"):
        run(options)


def run(options: argparse.Namespace) -> None:
    params = parse_yaml(files.read_text(ROOT / "params.yaml"))
    schema.check(params)
    schemes = options.schemes or list(params["schemes"])
    if unknown := [name for name in schemes if name not in params["schemes"]]:
        raise ValueError(f"{unknown[0]!r}: params.yaml has no such scheme")
    if missing := [name for name in NEEDED if not (ROOT / name).is_file()]:
        raise ValueError(f"{missing[0]}: no such file; make it with `inv repro`")
    runs = {name: [evaluate(params, name, seed) for seed in options.seeds] for name in schemes}
    head, rows = table(runs, options.seeds)
    files.write_csv(options.out, head, rows)
    for row in rows:
        values = " ".join(f"{value:.6g}" for value in row[4:])
        print(f"{row[0]:24} {row[1]:20} {row[2]:.6g} ± {row[3]:.2g}  ({values})")


def evaluate(params: dict[str, Any], scheme: str, seed: int) -> dict[str, Any]:
    """Run a scheme's stages with one seed, and return what `evaluate` measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in NEEDED:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
        changed = {
            **params,
            "calibrate": params["calibrate"] | {"seed": seed},
            "evaluate": params["evaluate"] | {"sensitivity_images": 0},  # not asked for here
        }
        text = yaml.safe_dump(changed, sort_keys=False)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        with contextlib.chdir(folder):
            for stage in STAGES:
                importlib.import_module(stage).main(scheme)
        return dict(results.evaluation(folder, scheme))


def table(
    measured: dict[str, list[dict[str, Any]]], seeds: Sequence[int]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the head and the rows of the CSV; a metric that a version lacks has no row."""
    head = ["scheme", "metric", "mean", "sd", *(f"seed_{seed}" for seed in seeds)]
    rows = []
    for scheme, runs in measured.items():
        for key in KEYS:
            values = [run[key] for run in runs if key in run]
            if len(values) == len(runs):
                deviation = statistics.stdev(values) if len(values) > 1 else 0.0
                rows.append((scheme, key, statistics.fmean(values), deviation, *values))
    return head, rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemes", nargs="+", help="names in params.yaml; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="calibrate.seed")
    parser.add_argument("--out", default=str(ROOT / "logs/seeds.csv"), help="the table's file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
