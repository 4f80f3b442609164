"""The metrics and plots of a run, read back scheme by scheme; which scheme is best.

Nothing is measured here.

Sources:
1. The one-standard-error rule: Breiman et al. 1984, Classification and Regression Trees, §3.4.3
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from powtwo.core import strict
from powtwo.report import reading
from powtwo.report.columns import LAYER_WORDS, MAIN_COLUMNS, SCHEME_COLUMNS, Column, shown

METRICS = ("convert", "evaluate", "energy")  # folders of metrics/, a JSON file for each scheme
# Folders of plots/, a CSV file for each scheme.
PLOTS = ("accuracy", "layers", "histograms", "predictions", "zeros", "totals", "energy",
         "conventions", "assumptions")  # fmt: skip
FLOAT_ZEROS = "plots/zeros-float.csv"
# Keys of a scheme's metrics["evaluate"] that stand in plots/accuracy: the part of a row, a column.
ACCURACIES = {
    "accuracy_low": ("test", "accuracy_low"),
    "accuracy_high": ("test", "accuracy_high"),
    "drop_points_low": ("test", "drop_points_low"),
    "drop_points_high": ("test", "drop_points_high"),
    "validation_images": ("validation", "images"),
    "validation_accuracy": ("validation", "accuracy"),
    "sensitivity_images": ("sensitivity", "images"),
    "sensitivity_float_accuracy": ("sensitivity", "float_accuracy"),
    "sensitivity_accuracy": ("sensitivity", "accuracy"),
}

Row = Mapping[str, Any]


class LayerSensitivity(NamedTuple):
    """A row of plots/sensitivity.csv: one layer is quantized, or left in float, unlike all others.

    Compared with the network that all the other layers are.
    """

    scheme: str
    layer: int
    kind: str
    alone: str  # what the layer alone is: a key of ALONE
    images: int
    accuracy: float
    reference: float
    points: float  # accuracy less reference, in percentage points


# For a layer that alone is so: its accuracy in plots/layers, the key of the reference.
ALONE = {
    "quantized": ("accuracy_quantized_alone", "sensitivity_float_accuracy"),
    "float": ("accuracy_float_alone", "sensitivity_accuracy"),
}


@dataclass(frozen=True)
class SchemeResult:
    """All that the stages wrote about one scheme.

    `metrics` has METRICS, of "energy" the row of plots/totals that has arithmetic by the common
    price table. `plots` has PLOTS, of "energy" and "conventions" only arithmetic by that table;
    plots["memory"] is the rest of plots/energy.
    """

    name: str
    metrics: Mapping[str, Row]
    plots: Mapping[str, Sequence[Row]]

    def __getitem__(self, column: str) -> Any:
        """Return a figure by the name of its column."""
        return self.row[column]

    @property
    def row(self) -> dict[str, Any]:
        """Return every figure of SCHEME_COLUMNS, in order; None of an optional one left out."""
        return {c.name: self._number(c) for c in SCHEME_COLUMNS}

    def _number(self, column: Column) -> float | None:
        part, key = column.part, column.key
        value = self.metrics[part][key]
        if value is None and column.optional:
            return None
        with strict.refused(self.source(part, key), reading.REMEDY):
            strict.require(type(value) in (int, float), "value", value, "must be a number")
        return float(value)

    def source(self, part: str, key: str) -> str:
        """Return the file and the key of a figure in `metrics`."""
        if part == "energy":
            table = self.metrics["energy"]["table"]
            return f"plots/totals/{self.name}.csv: arithmetic, {table}, {key}"
        if part == "evaluate" and key in ACCURACIES:
            return f"plots/accuracy/{self.name}.csv: {', '.join(ACCURACIES[key])}"
        return f"metrics/{part}/{self.name}.json: {key}"

    @property
    def layer_names(self) -> dict[int, str]:
        """Name each layer by its kind and its place among them: conv 1, conv 2, linear 1.

        Files number all layers, pooling among them, so that their numbers have gaps here.
        """
        kinds = {row["layer"]: row["kind"] for row in self.plots["layers"]}
        kinds |= {row["layer"]: row["layer_kind"] for row in self.plots["energy"]}  # also additions
        counts = Counter[str]()
        names = {}
        for layer, kind in sorted(kinds.items()):
            counts[kind] += 1
            names[layer] = f"{LAYER_WORDS.get(kind, kind)} {counts[kind]}"
        return names

    def conventions(self) -> dict[str, Row]:
        """Return the row of plots/assumptions for each zero-point convention."""
        table = self.metrics["energy"]["table"]
        return {
            row["value"]: row
            for row in self.plots["assumptions"]
            if (row["varied"], row["table"]) == ("zero_point", table)
        }

    def layer_sensitivity(self) -> list[LayerSensitivity]:
        """Return what each layer costs and gives alone; nothing where it was not measured."""
        evaluate = self.metrics["evaluate"]
        if not evaluate["sensitivity_images"]:
            return []
        return [
            LayerSensitivity(
                self.name, layer["layer"], layer["kind"], alone, evaluate["sensitivity_images"],
                layer[column], evaluate[key], 100 * (layer[column] - evaluate[key]),
            )
            for layer in self.plots["layers"]
            for alone, (column, key) in ALONE.items()
        ]  # fmt: skip


@dataclass(frozen=True)
class Results:
    """The float network and every scheme, in the order of `params.yaml`."""

    download: Row
    train: Row
    epochs: Sequence[Row]
    float_zeros: Sequence[Row]  # of plots/zeros-float.csv, a row for each weighted layer
    schemes: Sequence[SchemeResult]

    @property
    def best(self) -> SchemeResult:
        """The scheme that `choose` names."""
        by_name = {scheme.name: scheme for scheme in self.schemes}
        images = self.schemes[0].metrics["evaluate"]["validation_images"]  # the same for all
        return by_name[choose({name: scheme.row for name, scheme in by_name.items()}, images)]

    @property
    def best_first(self) -> list[SchemeResult]:
        """The schemes as the page shows them: the selected one, then the order of `params.yaml`."""
        return sorted(self.schemes, key=lambda scheme: scheme is not self.best)

    @property
    def energy_table(self) -> str:
        """The price table by which the schemes are compared."""
        return str(self.best.metrics["energy"]["table"])

    @property
    def float_accuracy(self) -> float:
        """The float network's accuracy on the test images."""
        return float(self.schemes[0].metrics["evaluate"]["float_accuracy"])


def read(root: Path, schemes: Sequence[str]) -> Results:
    """Read the metrics and plots of a repository.

    Args:
        root: where `metrics/` and `plots/` lie.
        schemes: the names that `params.yaml` has.

    Raises:
        ValueError: where a file is missing, or where no price table prices every scheme.
    """
    totals = {name: _totals(root, name) for name in schemes}
    first, *others = totals.values()
    table = next((name for name in first if all(name in other for other in others)), None)
    if table is None:
        raise ValueError(
            "energy: no table prices every scheme; set energy.all_widths to one that does, such as "
            "qtools"
        )
    return Results(
        reading.read_json(root, "metrics/download.json"),
        reading.read_json(root, "metrics/train.json"),
        reading.read_csv(root, "plots/training.csv"),
        reading.read_csv(root, FLOAT_ZEROS),
        [_scheme(root, name, of_scheme[table]) for name, of_scheme in totals.items()],
    )


def leftovers(root: Path, schemes: Collection[str]) -> list[Path]:
    """List the metrics and plots of other schemes, which `params.yaml` no longer has."""
    patterns = [f"metrics/{part}/*.json" for part in METRICS]
    patterns += [f"plots/{part}/*.csv" for part in PLOTS]
    files_of_schemes = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    hidden = "."  # a system's own, such as ._lab.json
    return [
        path for path in files_of_schemes
        if path.stem not in schemes and not path.name.startswith(hidden)
    ]  # fmt: skip


def evaluation(root: Path, scheme: str) -> Row:
    """Return what evaluate@S measured of the whole network: its metrics, and ACCURACIES."""
    file = f"plots/accuracy/{scheme}.csv"
    rows = reading.Row({row["part"]: row for row in reading.read_csv(root, file)}, file)
    more = {key: rows[part][column] for key, (part, column) in ACCURACIES.items()}
    file = f"metrics/evaluate/{scheme}.json"
    return reading.Row(reading.read_json(root, file) | more, file)


def _totals(root: Path, scheme: str) -> dict[str, Row]:
    """Map each table that prices the whole scheme to its row, the configured table first.

    Two schemes are never compared at prices of different tables.
    """
    return {
        row["table"]: row
        for row in reading.read_csv(root, f"plots/totals/{scheme}.csv")
        if row["part"] == "arithmetic" and row["unpriced"] is None
    }


def _scheme(root: Path, name: str, energy: Row) -> SchemeResult:
    convert = reading.read_json(root, f"metrics/convert/{name}.json")
    metrics = {"convert": convert, "evaluate": evaluation(root, name), "energy": energy}
    plots = {part: reading.read_csv(root, f"plots/{part}/{name}.csv") for part in PLOTS}
    if not plots["assumptions"]:
        raise ValueError(f"plots/assumptions/{name}.csv: no rows; {reading.REMEDY}")
    plots["memory"] = [row for row in plots["energy"] if row["part"] == "memory"]
    plots["energy"] = [row for row in plots["energy"] if row["part"] == "arithmetic"]
    for part in ("energy", "conventions"):
        plots[part] = [row for row in plots[part] if row["table"] == energy["table"]]
    return SchemeResult(name, metrics, plots)


def choose(rows: Mapping[str, Row], images: int) -> str:
    """Name the cheapest scheme within a standard error of the highest validation accuracy.

    A difference below that error is the luck of the images (source 1), energy is not. The test
    images select nothing, since the best on them would look better than it is. Of schemes of equal
    energy the more accurate is chosen, and then the first.

    Args:
        rows: `validation_accuracy`, a fraction, and `energy_uj` of each scheme.
        images: number of validation images.
    """
    p = max(row["validation_accuracy"] for row in rows.values())
    enough = p - math.sqrt(p * (1 - p) / images)
    good = [name for name, row in rows.items() if row["validation_accuracy"] >= enough]
    return min(good, key=lambda n: (rows[n]["energy_uj"], -rows[n]["validation_accuracy"]))


def plain_text(results: Results) -> str:
    """Return the comparison as plain text, a line for each scheme."""
    lines = [["scheme", *(column.title for column in MAIN_COLUMNS)]]
    for scheme in results.schemes:
        lines.append([scheme.name, *(shown(scheme.row[c.name], c.form) for c in MAIN_COLUMNS)])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )
