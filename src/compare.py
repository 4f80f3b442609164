"""Stage compare: every scheme side by side, as a table, as pictures and as a page."""

from pathlib import Path

from powtwo import figures, files, report, results
from powtwo.stage import stage


def main() -> None:
    """Run the stage."""
    with stage("compare", "schemes") as params:
        found = results.read(Path(), list(params.schemes))
        rows = {scheme.name: scheme.row for scheme in found.schemes}

        metrics = {"best": found.best.name, "energy_table": found.energy_table, "schemes": rows}
        files.write_json("metrics/compare.json", metrics)
        columns = ("scheme", *(column.name for column in results.COLUMNS))
        files.write_csv(
            "plots/schemes.csv", columns, [(name, *row.values()) for name, row in rows.items()]
        )
        files.write_csv(
            "plots/energy-sensitivity.csv", results.SENSITIVITY, results.sensitivity(found)
        )
        files.write_csv(
            "plots/sensitivity.csv", results.LAYER_SENSITIVITY, results.layer_sensitivity(found)
        )
        drawn = report.pictures(found)
        for picture in drawn:
            figures.save_png(picture.drawing, f"plots/{picture.name}.png")
        files.write_text("report/index.html", report.page(found, drawn))
        print(results.table(found))
        print(f"cheapest within a standard error of the best on validation: {found.best.name}")


if __name__ == "__main__":
    main()
