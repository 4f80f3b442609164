"""Export an integer network's file: `--network FILE [--data PATH] [--out FOLDER] [--strict]`.

`--prefix NAME` begins the names in C, `--packed` packs weights of 4 bits and fewer. No stage.
"""

from __future__ import annotations

import sys
from pathlib import Path

from powtwo.export.bundle import write_bundle
from powtwo.export.packing import packings
from powtwo.export.steps import steps_of
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import evaluate_network

OUT = Path("build/export")  # away from exports/, which belongs to the stages


def main(arguments: list[str]) -> None:
    """Write the folder and say what it has and lacks, or in one line why it is not written."""
    parser = evaluate_network.parser("export")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--prefix")
    parser.add_argument("--packed", action="store_true")
    options = parser.parse_args(arguments)
    with one_line_errors("export"):
        params = schema.load()
        network, dataset = evaluate_network.load(options.network, options.data, params.data)
        folder, export = options.out or OUT / network.scheme, params.export
        strict = export.strict or options.strict
        packed = options.packed or export.packed
        if packed and not packings(steps_of(network)):
            print("packed: no weights have 4 bits or fewer; all stay int8")
        left_out = write_bundle(
            folder,
            network,
            dataset,
            export.images,
            export.formats,
            strict,
            prefix=options.prefix,
            packed=packed,
        )
        for name, reason in left_out.items():
            print(f"{name} left out: {reason}")
        there = [name for name in export.formats if name not in left_out]
        print(f"{folder}: scheme {network.scheme} as {', '.join(['golden vectors', *there])}")


if __name__ == "__main__":
    main(sys.argv[1:])
