"""What the stages measured, read back scheme by scheme.

Nothing is measured here: `COLUMNS` says which figure of which file stands in the comparison.

Sources:
1. The one-standard-error rule: Breiman et al. 1984, Classification and Regression Trees, §3.4.3
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from powtwo.core import files
from powtwo.report import common_prices as energy_common

METRICS = ("convert", "evaluate", "energy")  # folders of metrics/, a JSON file for each scheme
TABLES = (
    "layers",
    "histograms",
    "predictions",
    "energy",
    "conventions",
)  # folders of plots/, a CSV file for each scheme

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A figure of the comparison and where it comes from."""

    name: str  # in plots/schemes.csv and metrics/compare.json
    title: str  # for people, with its unit
    part: str  # metrics/<part>/<scheme>.json
    key: str  # in that file
    form: str  # how people see it
    detail: bool = False  # left out where space is short


COLUMNS = (
    Column("accuracy", "accuracy", "evaluate", "accuracy", ".2%"),
    Column("accuracy_low", "at least", "evaluate", "accuracy_low", ".2%", True),
    Column("accuracy_high", "at most", "evaluate", "accuracy_high", ".2%", True),
    Column("validation_accuracy", "on validation", "evaluate", "validation_accuracy", ".2%"),
    Column("drop_points", "drop, points", "evaluate", "drop_points", ".2f"),
    Column("drop_points_low", "drop at least", "evaluate", "drop_points_low", ".2f", True),
    Column("drop_points_high", "drop at most", "evaluate", "drop_points_high", ".2f", True),
    Column("gained", "only integers right", "evaluate", "gained", ",.0f", True),
    Column("lost", "only floats right", "evaluate", "lost", ",.0f", True),
    Column("p_value", "p-value", "evaluate", "p_value", ".2g"),
    Column("agreement", "agreement", "evaluate", "agreement", ".2%"),
    Column("min_sqnr_db", "lowest SQNR, dB", "evaluate", "min_sqnr_db", ".1f"),
    Column("size_mb", "file, MB", "convert", "size_mb", ".2f"),
    Column("energy_uj", "energy, µJ", "energy", "integer_uj", ".3f"),
    Column("ratio", "energy ratio", "energy", "ratio", ".2f"),
)
SHORT = tuple(column for column in COLUMNS if not column.detail)
MISSING = "–"  # what people see of a figure that a stage could not give


def shown(value: float | None, form: str) -> str:
    """Return a figure as people see it."""
    return MISSING if value is None else format(value, form)


SENSITIVITY = ("scheme", *energy_common.SENSITIVITY)  # of plots/energy-sensitivity.csv

# Of plots/sensitivity.csv: a row for each scheme, layer and way to treat that layer unlike all the
# others. `points` is accuracy less reference, in percentage points.
LAYER_SENSITIVITY = ("scheme", "layer", "kind", "alone", "images", "accuracy", "reference",
                     "points")  # fmt: skip
# What a layer alone is: its column of plots/layers, and in metrics/evaluate the accuracy of the
# network that all its other layers are.
ALONE = {
    "quantized": ("accuracy_quantized_alone", "sensitivity_float_accuracy"),
    "float": ("accuracy_float_alone", "sensitivity_accuracy"),
}


@dataclass(frozen=True)
class SchemeResult:
    """All that the stages wrote about one scheme."""

    name: str
    metrics: Mapping[str, Row]  # by name of METRICS
    tables: Mapping[str, Sequence[Row]]  # by name of TABLES; memory: what energy says of it
    energy_key: str = ""  # of metrics/energy: under it stand the figures of the common table

    def __getitem__(self, column: str) -> float:
        """Return a figure by the name of its column, which is there."""
        value = self.row[column]
        assert value is not None
        return value

    @property
    def row(self) -> dict[str, float | None]:
        """Return every figure of COLUMNS, in order; None where the table lacks a price."""
        found = {column.name: self.part(column.part).get(column.key) for column in COLUMNS}
        return {name: None if value is None else float(value) for name, value in found.items()}

    @property
    def energy(self) -> Row:
        """Return what arithmetic costs, by the table of prices that compares all schemes."""
        return self.part("energy")

    def part(self, name: str) -> Row:
        """Return the figures of a part; of energy those in the common table alone."""
        found = self.metrics[name]
        below: Row = found[self.energy_key] if name == "energy" and self.energy_key else found
        return below

    def source(self, part: str, key: str) -> str:
        """Return the file and the key of a figure that `part` gives."""
        above = f"{self.energy_key}." if part == "energy" and self.energy_key else ""
        return f"metrics/{part}/{self.name}.json: {above}{key}"

    @property
    def priced(self) -> bool:
        """Tell whether the energy table has a price for every operation."""
        return self.row["energy_uj"] is not None


@dataclass(frozen=True)
class Results:
    """The float network and every scheme, in the order of `params.yaml`."""

    train: Row
    epochs: Sequence[Row]
    schemes: Sequence[SchemeResult]

    @property
    def best(self) -> SchemeResult:
        """The one that `choose` does; of equal ones the first of `params.yaml`."""
        return _choose(self.schemes)

    @property
    def best_priced(self) -> SchemeResult | None:
        """The best of those whose energy is known, if there are any."""
        priced = [scheme for scheme in self.schemes if scheme.priced]
        return _choose(priced) if priced else None

    @property
    def energy_table(self) -> str:
        """The table of prices by which the schemes are compared."""
        return str(self.best.energy["table"])

    @property
    def float_accuracy(self) -> float:
        """The float network's accuracy on the test images, as the schemes were compared with."""
        return float(self.schemes[0].metrics["evaluate"]["float_accuracy"])


def read(root: Path, schemes: Sequence[str]) -> Results:
    """Read the metrics and plots of a repository.

    Args:
        root: where `metrics/` and `plots/` lie.
        schemes: the names that `params.yaml` has.

    Raises:
        ValueError: where a file is missing, or is of a scheme that `params.yaml` does not have.
    """
    patterns = [f"metrics/{part}/*.json" for part in METRICS]
    patterns += [f"plots/{part}/*.csv" for part in TABLES]
    for path in (path for pattern in patterns for path in sorted(root.glob(pattern))):
        if path.stem not in schemes:
            raise ValueError(
                f"{path.relative_to(root).as_posix()}: params.yaml has no scheme {path.stem}; "
                "remove what it left behind with `inv prune`"
            )
    train, epochs = _json(root, "metrics/train.json"), _csv(root, "plots/training.csv")
    return Results(train, epochs, _in_one_table([_scheme(root, name) for name in schemes]))


def table(results: Results) -> str:
    """Return the comparison as plain text, a line for each scheme."""
    lines = [["scheme", *(column.title for column in SHORT)]]
    for scheme in results.schemes:
        lines.append([scheme.name, *(shown(scheme.row[c.name], c.form) for c in SHORT)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def sensitivity(results: Results) -> list[tuple[Any, ...]]:
    """Return rows of SENSITIVITY: how the ratio to FP32 of each scheme moves."""
    return [
        (scheme.name, *(row[column] for column in SENSITIVITY[1:]))
        for scheme in results.schemes
        for row in scheme.metrics["energy"]["sensitivity"]
    ]


def layer_sensitivity(results: Results) -> list[tuple[Any, ...]]:
    """Return rows of LAYER_SENSITIVITY; none of a scheme where it was not measured."""
    rows: list[tuple[Any, ...]] = []
    for scheme in results.schemes:
        found = scheme.metrics["evaluate"]
        images = found.get("sensitivity_images")
        for layer in scheme.tables["layers"] if images else ():
            for alone, (column, of_all) in ALONE.items():
                accuracy, reference = layer[column], found[of_all]
                points = 100 * (accuracy - reference)
                rows.append((scheme.name, layer["layer"], layer["kind"], alone, images, accuracy,
                             reference, points))  # fmt: skip
    return rows


def choose(rows: Mapping[str, Row], images: int) -> str:
    """Name the cheapest scheme within a standard error of the highest on so many validation images.

    A difference below that error is the luck of the images (source 1), energy is not. Test images
    choose nothing: the best on them would look better than it is. Of schemes of equal energy the
    more accurate, and then the first.

    Args:
        rows: `validation_accuracy`, a fraction, and `energy_uj`, or None, of each scheme.
        images: how many that accuracy was measured on.
    """
    p = max(row["validation_accuracy"] for row in rows.values())
    enough = p - math.sqrt(p * (1 - p) / images)
    return min((name for name, row in rows.items() if row["validation_accuracy"] >= enough),
               key=lambda name: _cost(rows[name]))  # fmt: skip


def _choose(schemes: Sequence[SchemeResult]) -> SchemeResult:
    found = {scheme.name: scheme for scheme in schemes}
    images = schemes[0].metrics["evaluate"]["validation_images"]  # the same for all
    return found[choose({name: scheme.row for name, scheme in found.items()}, images)]


def _cost(row: Row) -> tuple[float, float]:
    energy = row["energy_uj"]
    return math.inf if energy is None else energy, -row["validation_accuracy"]


def _scheme(root: Path, name: str) -> SchemeResult:
    return SchemeResult(
        name,
        {part: _json(root, f"metrics/{part}/{name}.json") for part in METRICS},
        {part: _csv(root, f"plots/{part}/{name}.csv") for part in TABLES},
    )


def _in_one_table(schemes: Sequence[SchemeResult]) -> list[SchemeResult]:
    """Say where the energies that all are compared by stand, and set memory apart."""
    name = energy_common.table([scheme.metrics["energy"] for scheme in schemes])
    found = []
    for scheme in schemes:
        rows = scheme.tables["energy"]
        energy = [row for row in rows if row["part"] == "arithmetic" and row["table"] == name]
        memory = [row for row in rows if row["part"] == "memory"]
        conventions = [row for row in scheme.tables["conventions"] if row["table"] == name]
        found.append(
            replace(
                scheme,
                tables={
                    **scheme.tables,
                    "energy": energy,
                    "memory": memory,
                    "conventions": conventions,
                },
                energy_key=energy_common.place(scheme.metrics["energy"], name),
            )
        )
    return found


def _json(root: Path, name: str) -> Row:
    values: Row = files.read_json(_present(root, name))
    return values


def _csv(root: Path, name: str) -> list[Row]:
    with _present(root, name).open(encoding="utf-8", newline="") as file:
        return [
            # Class names stay text, also where they look like numbers.
            {key: value if key in ("actual", "predicted") else _number(value)
             for key, value in row.items()}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def _present(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise ValueError(f"{name}: no such file; make it with `inv repro`")
    return root / name


def _number(text: str) -> Any:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
