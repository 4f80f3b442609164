"""Stage compare: every scheme side by side, as a table, as pictures and as a page."""

import powtwo.sidecar.from_the_start  # noqa: F401

from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.core.params import SchemeName, Seed, StageParams
from powtwo.core.stages import stage
from powtwo.report import columns, options, page, results
from powtwo.report.figures import style
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    seed: Seed  # that the report shows
    schemes: dict[SchemeName, Any]  # in the order of the report, which shows their options


def main() -> None:
    """Run the stage."""
    with observed("compare"), stage("compare", Reads) as params:
        if others := results.leftovers(Path(), params.schemes):
            names = ", ".join(sorted({path.stem for path in others}))
            print(f"left out, as params.yaml has no such scheme: {names}; `inv prune` removes them")
        run = results.read(Path(), list(params.schemes))
        write_tables(run)
        lines = {name: options.describe(scheme) for name, scheme in params.schemes.items()}
        figures = page.draw_figures(run)
        for name, figure in figures.items():
            style.save_png(figure, f"plots/{name}.png")
        files.write_text("report/index.html", page.render(run, figures, lines, params.seed))
        print(results.plain_text(run))
        print(f"selected on the validation set (one-standard-error rule): {run.best.name}")


def write_tables(run: results.Results) -> None:
    """Write the metrics that `dvc metrics diff` compares, and the tables that `dvc plots` draws."""
    rows = {scheme.name: scheme.row for scheme in run.schemes}
    accuracies = {name: row["accuracy"] for name, row in rows.items()}
    files.write_json("metrics/accuracy.json", {columns.FP32: run.float_accuracy, **accuracies})
    compared = {
        key: {name: row[column] for name, row in rows.items()}
        for key, column in columns.COMPARED.items()
    }
    of_run = {"best": run.best.name, "energy_table": run.energy_table}
    files.write_json("metrics/compare.json", compared | of_run)
    titles = ["scheme", *(column.name for column in columns.SCHEME_COLUMNS)]
    lines = [[scheme, *row.values()] for scheme, row in rows.items()]
    files.write_csv("plots/schemes.csv", titles, lines)
    layers = [row for scheme in run.schemes for row in scheme.layer_sensitivity()]
    files.write_csv("plots/sensitivity.csv", results.LayerSensitivity._fields, layers)
    assumed = [row for scheme in run.schemes for row in scheme.plots["assumptions"]]
    lines = [list(row.values()) for row in assumed]
    files.write_csv("plots/energy-sensitivity.csv", list(assumed[0]), lines)


if __name__ == "__main__":
    main()
