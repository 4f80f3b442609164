"""How long images take to load: from the source of a preset, and after from `data/dataset.npz`.

A turn does what the stage `download` does, from the source to a data set in a temporary folder, and
then reads that as every later stage does. The file has just been written, so the system may still
hold it in memory. Seconds are medians over the turns. The last line is one JSON object. `--keep`
adds a row to docs/loading.csv, which `inv docs` turns into the table of docs/training.md.

    inv bench load [-- --preset cifar10-jpeg --data PATH --turns 3 --keep]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from powtwo.dataset.images import Dataset
from powtwo.sidecar.one_line import one_line_errors
from powtwo.sources.params import Source
from powtwo.sources.place import location
from powtwo.sources.read import read_dataset
from powtwo.tools import presets
from powtwo.tools.docs import benchmarks
from powtwo.tools.docs.benchmarks import LoadRow

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    options = _options()
    with one_line_errors("load"):
        row = measure(options)
        if options.keep:
            benchmarks.add(options.keep, row)
    print(f"{row.images:,} images of {row.preset} on {row.cores} cores, {row.turns} turns")
    seconds = {name: getattr(row, name) for name in ("source_seconds", "dataset_seconds")}
    print(json.dumps(seconds, sort_keys=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how long images take to load.")
    parser.add_argument("--preset", default="cifar10-jpeg", help="whose images")
    parser.add_argument("--data", type=Path, help="where they lie; else POWTWO_DATA or data.path")
    parser.add_argument("--turns", type=int, default=3, help="how often")
    parser.add_argument("--keep", type=Path, nargs="?", metavar="FILE",
                        const=ROOT / "docs/loading.csv",
                        help="add a row to docs/loading.csv, or to FILE")  # fmt: skip
    return parser.parse_args()


def measure(options: argparse.Namespace) -> LoadRow:
    """Take the turns.

    Raises:
        ValueError: where there is no turn, or the preset or its images are not there.
    """
    if options.turns < 1:
        raise ValueError(f"--turns = {options.turns}: must be 1 or more")
    data = presets.parameters(options.preset, ROOT / "params.yaml", ROOT / "presets").data
    path = options.data or location(data)
    turns = [_turn(data, path) for _ in range(options.turns)]
    images, from_source, after = zip(*turns, strict=True)
    return LoadRow(
        options.preset,
        images[0],
        path.stat().st_size / 1e6 if path and path.is_file() else None,
        os.cpu_count() or 1,
        options.turns,
        round(statistics.median(from_source), 2),
        round(statistics.median(after), 3),
    )


def _turn(data: Source, path: Path | None) -> tuple[int, float, float]:
    """Return how many images there are, the seconds from the source, and those after."""
    with tempfile.TemporaryDirectory() as folder:
        file, started = Path(folder) / "dataset.npz", time.perf_counter()
        read_dataset(data, path).save(file)
        written = time.perf_counter()
        dataset = Dataset.load(file)
        ended = time.perf_counter()
    images = sum(len(y) for y in (dataset.y_train, dataset.y_validation, dataset.y_test))
    return images, written - started, ended - written


if __name__ == "__main__":
    main()
