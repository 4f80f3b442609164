"""Stage energy@S: what one image costs in float and in the integers of scheme S."""

import sys

from powtwo import energy, files, price_table, shapes
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"energy-{scheme}", "energy", f"schemes.{scheme}") as params:
        layers = shapes.read(f"models/integer/{scheme}.safetensors")
        table = price_table.load(params.energy.table)
        convention = params.energy.zero_point

        metrics = energy.metrics(layers, table, convention)
        files.write_json(f"metrics/energy/{scheme}.json", metrics)
        counts = energy.float_counts(layers) + energy.integer_counts(layers, convention)
        rows = energy.rows(counts, table)
        files.write_csv(f"plots/energy/{scheme}.csv", energy.COLUMNS, rows)


if __name__ == "__main__":
    main(sys.argv[1])
