"""Export an integer network's file: `--network FILE [--data PATH] [--out FOLDER]`. No stage.

`--prefix NAME` begins the names in C, `--packed` packs weights of 4 bits and fewer.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from powtwo.dataset.images import Dataset
from powtwo.export import manifest
from powtwo.export.bundle import bundle_files, write_bundle
from powtwo.export.packing import packings
from powtwo.export.params import Export
from powtwo.export.steps import UnsupportedError, steps_of
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar import schema
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools import evaluate_network

OUT = Path("build/export")  # away from exports/, which belongs to the stages


def main(arguments: list[str]) -> None:
    """Write the folder and say what it has, or in one line why there is nothing to write."""
    parser = evaluate_network.parser("export")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--prefix")
    parser.add_argument("--packed", action="store_true")
    options = parser.parse_args(arguments)
    with one_line_errors("export"):
        params = schema.load()
        network, dataset = evaluate_network.load(options.network, options.data, params.data)
        folder = options.out or OUT / network.scheme
        if folder.exists() and any(folder.iterdir()) and not (folder / manifest.FILE).is_file():
            raise ValueError(f"--out = {folder}: holds something else; name a new folder")
        formats = list(_supported(network, dataset, params.export))
        if not formats:
            raise ValueError("export.formats: none can express the network; add one to params.yaml")
        packed = options.packed or params.export.packed
        if packed and not packings(steps_of(network)):
            print("packed: no weights have 4 bits or fewer; all stay int8")
        images, prefix = params.export.images, options.prefix
        write_bundle(folder, network, dataset, images, formats, prefix=prefix, packed=packed)
        print(f"{folder}: scheme {network.scheme} as {', '.join(formats)}")


def _supported(network: IntegerNetwork, dataset: Dataset, export: Export) -> Iterator[str]:
    """Yield the formats that can express the network; say why the others cannot."""
    for name in export.formats:
        try:
            bundle_files(network, dataset, export.images, [name])
        except UnsupportedError as error:
            print(f"left out: {error}")
        else:
            yield name


if __name__ == "__main__":
    main(sys.argv[1:])
