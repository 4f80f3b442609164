"""Stage energy@S: what one image costs in float and in the integers of scheme S."""

import powtwo.sidecar.from_the_start  # noqa: F401

import sys

from powtwo.core import files
from powtwo.core.params import StageParams
from powtwo.core.stages import stage
from powtwo.energy import gating, metrics
from powtwo.energy.params import Energy
from powtwo.integer import shapes
from powtwo.sidecar.run_log import observed


class Reads(StageParams):
    """What this stage reads of params.yaml."""

    energy: Energy


def main(scheme: str) -> None:
    """Run the stage for one scheme."""
    with observed(f"energy-{scheme}"), stage("energy", Reads, scheme) as params:
        layers = shapes.read(f"models/integer/{scheme}.safetensors")
        prices = metrics.load_prices(params.energy)
        zeros = gating.ZeroShares(
            gating.read_shares("plots/zeros-float.csv", layers),
            gating.read_shares(f"plots/zeros/{scheme}.csv", layers),
        )
        totals = metrics.totals(layers, prices, zeros)
        files.write_json(f"metrics/energy/{scheme}.json", metrics.headline(totals))
        files.write_csv(f"plots/totals/{scheme}.csv", metrics.Total._fields, totals)
        assumed = metrics.assumption_rows(layers, prices)
        files.write_csv(
            f"plots/assumptions/{scheme}.csv",
            ["scheme", *assumed[0]],
            [[scheme, *row.values()] for row in assumed],
        )
        terms = metrics.term_rows(layers, prices)
        files.write_csv(f"plots/energy/{scheme}.csv", metrics.TERM_COLUMNS, terms)
        conventions = metrics.convention_rows(layers, prices)
        files.write_csv(f"plots/conventions/{scheme}.csv", metrics.CONVENTION_COLUMNS, conventions)


if __name__ == "__main__":
    main(sys.argv[1])
