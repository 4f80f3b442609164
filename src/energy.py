"""Stage energy@S: what one image costs in float and in the integers of scheme S."""

import sys

from powtwo import energy, energy_metrics, files, shapes
from powtwo.stage import stage


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with stage(f"energy-{scheme}", "energy", f"schemes.{scheme}") as params:
        layers = shapes.read(f"models/integer/{scheme}.safetensors")
        prices = energy_metrics.load(params.energy)

        metrics = energy_metrics.metrics(layers, prices)
        files.write_json(f"metrics/energy/{scheme}.json", metrics)
        rows = energy_metrics.rows(layers, prices)
        files.write_csv(f"plots/energy/{scheme}.csv", energy.COLUMNS, rows)
        files.write_csv(
            f"plots/conventions/{scheme}.csv",
            energy_metrics.BY_CONVENTION,
            energy_metrics.by_convention(layers, prices),
        )


if __name__ == "__main__":
    main(sys.argv[1])
