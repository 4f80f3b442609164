"""Export an integer network's file: `--network FILE [--data PATH] [--out FOLDER]`. No stage."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from powtwo.dataset.images import Dataset
from powtwo.export import bundle, manifest
from powtwo.export.errors import UnsupportedError
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar import schema as params
from powtwo.tools import network_file

OUT = Path("build/export")  # away from exports/, which belongs to the stages


def main(arguments: list[str]) -> int:
    """Write the folder, and say what it has; return 1 where there is nothing to write."""
    parser = argparse.ArgumentParser(prog="export")
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    try:
        values = params.load()
        network, dataset = network_file.load(given.network, given.data, values.data)
        images, folder = values.export.images, given.out or OUT / network.scheme
        _check_folder(folder)
        formats = list(_that_can(network, dataset, images, values.export.formats))
        if not formats:
            raise ValueError("export.formats: none can express the network; add one to params.yaml")
        bundle.write(folder, network, dataset, images, formats)
    except network_file.ERRORS as error:
        print(f"export: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{folder}: scheme {network.scheme} as {', '.join(formats)}")
    return 0


def _check_folder(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but an export."""
    if folder.exists() and any(folder.iterdir()) and not (folder / manifest.FILE).is_file():
        raise ValueError(f"--out = {folder}: holds something else; name a new folder")


def _that_can(
    network: IntegerNetwork, dataset: Dataset, images: int, formats: Iterable[str]
) -> Iterator[str]:
    """Yield the formats that can express the network; say why the others cannot."""
    for name in formats:
        try:
            bundle.make(network, dataset, images, [name])
        except UnsupportedError as error:
            print(f"left out: {error}")
        else:
            yield name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
