"""A repository of metrics and plots: one recorded run of the pipeline, and ways to vary it.

`tests/data/run` is what the stages up to compare wrote of its params.yaml: a network of four
weighted layers, of which the last is 128 to 10, under three schemes.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from closure import ROOT

from powtwo.core import files

RUN = ROOT / "tests/data/run"
PARAMS = yaml.safe_load((RUN / "params.yaml").read_text(encoding="utf-8"))
RECORDED = tuple(PARAMS["schemes"])


def write(
    root: Path,
    schemes: Sequence[str] | Mapping[str, str] = RECORDED,
    classes: Sequence[str] = (),
) -> None:
    """Write params.yaml, metrics/ and plots/ of a run.

    Args:
        root: where to.
        schemes: names; what is recorded of a name, or of one after the other for other names, or of
            the recorded name that each is mapped to.
        classes: names of classes instead of digits.
    """
    if not isinstance(schemes, Mapping):
        others = (RECORDED[index % len(RECORDED)] for index in range(len(schemes)))
        schemes = {
            name: name if name in RECORDED else other
            for name, other in zip(schemes, others, strict=True)
        }
    of_schemes = {name: PARAMS["schemes"][recorded] for name, recorded in schemes.items()}
    text = yaml.safe_dump(PARAMS | {"schemes": of_schemes}, sort_keys=False)
    files.write_text(root / "params.yaml", text)
    for name in ("metrics/train.json", "metrics/download.json", "plots/training.csv",
                 "plots/zeros-float.csv"):  # fmt: skip
        _copy(name, root / name)
    for folder in ("metrics/*", "plots/*"):
        for path in RUN.glob(f"{folder}/{RECORDED[0]}.*"):
            place = path.parent.relative_to(RUN)
            for name, recorded in schemes.items():
                _copy(place / f"{recorded}{path.suffix}", root / place / f"{name}{path.suffix}")
    for name in schemes:
        path = root / f"plots/assumptions/{name}.csv"
        change_csv(path, scheme=[name] * len(read_csv(path)))
    for name in schemes if classes else ():
        _rename_classes(root / f"plots/predictions/{name}.csv", classes)


def change_json(path: Path, **changes: Any) -> None:
    """Write a file of metrics again with other values."""
    files.write_json(path, files.read_json(path) | changes)


def change_csv(path: Path, **columns: Sequence[Any]) -> None:
    """Write a table again with other columns."""
    rows = read_csv(path)
    for name, values in columns.items():
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
    files.write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


def change_row(path: Path, column: str, value: str, **changes: Any) -> None:
    """Write a table again with other values in the row that has `value` in `column`."""
    rows = [row | (changes if row[column] == value else {}) for row in read_csv(path)]
    files.write_csv(path, list(rows[0]), [list(row.values()) for row in rows])


def forget_sensitivity(root: Path, schemes: Sequence[str]) -> None:
    """Leave the schemes as `evaluate.sensitivity_images: 0` does."""
    for scheme in schemes:
        change_row(
            root / f"plots/accuracy/{scheme}.csv", "part", "sensitivity",
            images=0, float_accuracy="", accuracy="",
        )  # fmt: skip
        path = root / f"plots/layers/{scheme}.csv"
        nothing = [""] * len(read_csv(path))
        change_csv(path, accuracy_quantized_alone=nothing, accuracy_float_alone=nothing)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _copy(name: str | Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RUN / name, path)


def _rename_classes(path: Path, classes: Sequence[str]) -> None:
    """Name the digits; where there are more classes than digits, use all of them."""
    change_csv(path, **{
        column: [classes[(int(row[column]) + 10 * index) % len(classes)]
                 for index, row in enumerate(read_csv(path))]
        for column in ("actual", "predicted")
    })  # fmt: skip
