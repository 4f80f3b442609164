"""The report's table of a scheme's layers."""

from __future__ import annotations

from html import escape

from powtwo.report.markup import Cell, figure_in_text, links, table
from powtwo.report.results import MISSING, Row, SchemeResult, shown

# Columns of plots/layers/<scheme>.csv: what people see of each, and how.
_COLUMNS = {
    "sqnr_db": ("output SQNR, dB", ".1f"),
    "weight_sqnr_db": ("weight SQNR, dB", ".1f"),
    "clipped_activations": ("outputs clipped", ".3%"),
    "clipped_weights": ("weights clipped", ".3%"),
    "accuracy_quantized_alone": ("quantized alone", ".1%"),
    "accuracy_float_alone": ("float alone", ".1%"),
    "output_bits": ("output bits", "d"),
    "output_exponent": ("output exponent", "d"),
    "weight_bits": ("weight bits", "d"),
}
# Columns that hold a least and a greatest, of all output channels.
_RANGES = {"weight_exponent": "weight exponent", "shift": "shift"}


def layers(scheme: SchemeResult, opened: bool) -> str:
    """Show every computing layer of a scheme: noise, clipping, exponents, shifts, sensitivity."""
    file = f"plots/layers/{scheme.name}.csv"
    heads = ["layer", *(title for title, _ in _COLUMNS.values()), *_RANGES.values()]
    rows = [_row(row, file) for row in scheme.tables["layers"]]
    return (
        f"<details{' open' if opened else ''}><summary>{escape(scheme.name)}</summary>\n"
        f"<p>{_sensitivity(scheme)}</p>\n{table(heads, rows)}\n{links([file])}</details>"
    )


def _row(row: Row, file: str) -> list[Cell]:
    where = f"{file}: layer {row['layer']}"
    cells = [Cell(f"{row['layer']} {row['kind']}", row["layer"], f"{where}, layer")]
    for key, (_, form) in _COLUMNS.items():
        cells.append(Cell(shown(row[key], form), row[key], f"{where}, {key}"))
    for key in _RANGES:
        low, high = row[f"{key}_min"], row[f"{key}_max"]
        cells.append(Cell(_range(low, high), low, f"{where}, {key}_min"))
    return cells


def _range(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return MISSING
    return str(low) if low == high else f"{low} to {high}"


def _sensitivity(scheme: SchemeResult) -> str:
    found, file = scheme.metrics["evaluate"], f"metrics/evaluate/{scheme.name}.json"
    if not found.get("sensitivity_images"):
        return "Sensitivity was not measured: evaluate.sensitivity_images is 0."

    def figure(name: str, form: str) -> str:
        key = f"sensitivity_{name}"
        return figure_in_text(format(found[key], form), found[key], f"{file}: {key}")

    return (
        f"On {figure('images', ',')} validation images the float network has "
        f"{figure('float_accuracy', '.1%')} right and the integer network "
        f"{figure('accuracy', '.1%')}; with this layer alone quantized, and with it alone "
        "left in float, they have what the table says."
    )
