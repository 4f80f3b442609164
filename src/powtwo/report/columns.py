"""The columns of the report: a figure each, where it comes from, and how it is shown.

A column added here appears on the page and in plots/schemes.csv.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

MOST_DECIMALS = 4
MISSING = "–"  # shown for a figure that a stage could not give


class Column(NamedTuple):
    """A figure of each scheme."""

    name: str  # in plots/schemes.csv
    title: str  # on the page, with its unit; empty: there, it ends the range of another
    part: str  # the stage that measured it: a part of SchemeResult.metrics
    key: str  # in that part
    form: str  # format specification
    detail: bool = False  # left out where space is short
    optional: bool = False  # None where a parameter leaves it out


class LayerColumn(NamedTuple):
    """A figure of each layer of a scheme."""

    key: str  # in plots/layers/<scheme>.csv
    title: str  # on the page, with its unit
    form: str  # format specification


SCHEME_COLUMNS = (
    Column("accuracy", "accuracy", "evaluate", "accuracy", ".2%"),
    Column("accuracy_low", "accuracy, 95% interval", "evaluate", "accuracy_low", ".2%", True),
    Column("accuracy_high", "", "evaluate", "accuracy_high", ".2%", True),
    Column("validation_accuracy", "on validation", "evaluate", "validation_accuracy", ".2%"),
    Column("drop_points", "drop, points", "evaluate", "drop_points", ".2f"),
    Column("drop_points_low", "drop, 95% interval", "evaluate", "drop_points_low", ".2f", True),
    Column("drop_points_high", "", "evaluate", "drop_points_high", ".2f", True),
    Column("gained", "correct in integers alone", "evaluate", "gained", ",.0f", True),
    Column("lost", "correct in float alone", "evaluate", "lost", ",.0f", True),
    Column("p_value", "p-value", "evaluate", "p_value", "p"),
    Column("agreement", "agreement", "evaluate", "agreement", ".2%"),
    Column("min_sqnr_db", "lowest SQNR, dB", "evaluate", "min_sqnr_db", ".1f"),
    Column("size_mb", "file, MB", "convert", "size_mb", ".2f"),
    Column("energy_uj", "energy, µJ", "energy", "integer_uj", ".3f"),
    Column("ratio", "energy ratio", "energy", "ratio", ".1f"),
    Column("ratio_gated_dense", "gated/dense", "energy", "ratio_gated_dense", ".1f"),
    Column("ratio_gated_gated", "gated/gated", "energy", "ratio_gated_gated", ".1f"),
    Column("ratio_with_sram", "with SRAM", "energy", "ratio_with_sram", ".1f", optional=True),
)
# Ratios by their comparator, which have a table of their own.
COMPARATORS = ("ratio", "ratio_gated_dense", "ratio_gated_gated", "ratio_with_sram")
# Columns that begin a range, and those that end it.
RANGES = {"accuracy_low": "accuracy_high", "drop_points_low": "drop_points_high"}
MAIN_COLUMNS = tuple(column for column in SCHEME_COLUMNS if not column.detail)
LAYER_COLUMNS = (
    LayerColumn("sqnr_db", "output SQNR, dB", ".1f"),
    LayerColumn("weight_sqnr_db", "weight SQNR, dB", ".1f"),
    LayerColumn("clipped_activations", "outputs clipped", ".3%"),
    LayerColumn("clipped_weights", "weights clipped", ".3%"),
    LayerColumn("accuracy_quantized_alone", "accuracy, quantized alone", ".2%"),
    LayerColumn("accuracy_float_alone", "accuracy, float alone", ".2%"),
    LayerColumn("output_bits", "output bits", "d"),
    LayerColumn("output_exponent", "output exponent", "d"),
    LayerColumn("weight_bits", "weight bits", "d"),
)
LAYER_WORDS = {"conv2d": "conv", "avgpool2d": "average"}  # in names; other kinds keep theirs
# Columns with the range over all output channels, from <key>_min and <key>_max of plots/layers.
LAYER_RANGES = {"weight_exponent": "weight exponent", "shift": "right shift, bits"}

# What metrics/compare.json has of each scheme, by its column. Accuracy is in metrics/accuracy.json:
# `dvc exp show` calls a column by its key alone, so that all schemes fit a terminal.
COMPARED = {
    "drop_points": "drop_points",
    "energy_ratio": "ratio",
    "min_sqnr_db": "min_sqnr_db",
    "size_mb": "size_mb",
    "validation_accuracy": "validation_accuracy",
}
FP32 = "FP32"  # the float network among schemes, whose names have no capitals


def shown(value: float | None, form: str) -> str:
    """Return a figure as a terminal shows it; the form `p` is that of a p-value."""
    if value is None:
        return MISSING
    if form == "p":
        return "< 0.001" if value < 0.001 else f"{value:.3f}"
    return format(int(value) if form.endswith("d") else value, form)


def uniform(values: Iterable[float | None]) -> str:
    """Return the form for a column: the fewest decimals that keep each within 0.05 percent."""
    numbers = [value for value in values if value is not None]
    few = (d for d in range(MOST_DECIMALS) if all(_close(round(n, d), n) for n in numbers))
    return f",.{next(few, MOST_DECIMALS)}f"


def _close(shown_value: float, value: float) -> bool:
    return abs(shown_value - value) <= 5e-4 * abs(value)


def words(key: str) -> str:
    """Return a name of the files in words: `1 MB SRAM` of sram_1mb, `INT4×8 shift` of int4x8_shift.

    A name that is in words already stays as it is.
    """
    memory = re.fullmatch(r"sram_(\d+)([km])b", key)
    if memory:
        return f"{memory[1]} {memory[2].replace('m', 'M')}B SRAM"
    operation = re.fullmatch(r"(u?int\d+|fp\d+)(x\d+)?(_.*)", key)
    if operation:
        first, second, rest = operation.groups("")
        key = first.upper() + second.replace("x", "×") + rest
    return re.sub(r"^(dram|msb)\b", lambda name: name[0].upper(), key.replace("_", " "))


def typeset(value: float | None, form: str) -> str:
    """Return a figure as the page shows it, with the minus sign of typography."""
    return shown(value, form).replace("-", "−")
