"""Stage compare: every scheme side by side, as a table, as pictures and as a page."""

from pathlib import Path
from typing import Any

from powtwo.core import files
from powtwo.core.params import SchemeName, StageParams
from powtwo.core.stage import stage
from powtwo.report import figures, page, results
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    schemes: dict[SchemeName, Any]  # of which it asks nothing but the names, in their order


def main() -> None:
    """Run the stage."""
    with observed("compare"), stage("compare", Reads) as params:
        run = results.read(Path(), list(params.schemes))
        rows = {scheme.name: scheme.row for scheme in run.schemes}

        metrics = {"best": run.best.name, "energy_table": run.energy_table, "schemes": rows}
        files.write_json("metrics/compare.json", metrics)
        columns = ("scheme", *(column.name for column in results.COLUMNS))
        files.write_csv(
            "plots/schemes.csv", columns, [(name, *row.values()) for name, row in rows.items()]
        )
        files.write_csv(
            "plots/energy-sensitivity.csv", results.SENSITIVITY, results.sensitivity(run)
        )
        files.write_csv(
            "plots/sensitivity.csv", results.LAYER_SENSITIVITY, results.layer_sensitivity(run)
        )
        drawn = page.pictures(run)
        for picture in drawn:
            figures.save_png(picture.drawing, f"plots/{picture.name}.png")
        figures.training_curves(run.epochs, "plots/training.png")
        files.write_text("report/index.html", page.page(run, drawn))
        print(results.table(run))
        print(f"cheapest within a standard error of the best on validation: {run.best.name}")


if __name__ == "__main__":
    main()
