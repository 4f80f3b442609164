"""Export an integer network's file: `--network FILE [--data PATH] [--out FOLDER] [--strict]`.

No stage.
"""

from __future__ import annotations

import sys
from pathlib import Path

from powtwo.export.bundle import write_bundle
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import evaluate_network

OUT = Path("build/export")  # away from exports/, which belongs to the stages


def main(arguments: list[str]) -> None:
    """Write the folder and say what it has and lacks, or in one line why it is not written."""
    parser = evaluate_network.parser("export")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args(arguments)
    with one_line_errors("export"):
        params = schema.load()
        network, dataset = evaluate_network.load(options.network, options.data, params.data)
        folder, export = options.out or OUT / network.scheme, params.export
        strict = export.strict or options.strict
        left_out = write_bundle(folder, network, dataset, export.images, export.formats, strict)
        for name, reason in left_out.items():
            print(f"{name} left out: {reason}")
        there = [name for name in export.formats if name not in left_out]
        print(f"{folder}: scheme {network.scheme} as {', '.join(['golden vectors', *there])}")


if __name__ == "__main__":
    main(sys.argv[1:])
