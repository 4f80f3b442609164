"""What the C of a network takes on small processors, with int8 weights and with packed ones.

Flash, RAM and the most stack that `network.c` takes, compiled for a Cortex-M4 and for RV32IMC; and
the processor time of an image on this machine, the median of turns, which take all by turns. The
last line is one JSON object. `--keep` writes docs/c_size.csv, which `inv docs` turns into the table
of docs/c.md.

    inv bench c_size [-- --network FILE --images 40 --turns 5 --keep]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from powtwo.core import files
from powtwo.export.c99.sources import sources
from powtwo.export.steps import steps_of
from powtwo.integer.network import IntegerNetwork
from powtwo.sidecar.one_line import one_line_errors
from powtwo.tools.docs.benchmarks import SizeRow
from powtwo.tools.exports import cross, programs
from powtwo.tools.exports.exported import SkippedError

ROOT = Path(__file__).resolve().parents[1]
FORMS = {"int8": False, "packed": True}


def main() -> None:
    options = _options()
    with one_line_errors("c_size"), tempfile.TemporaryDirectory() as scratch:
        rows = measure(options, Path(scratch))
        if options.keep:
            files.write_csv(options.keep, SizeRow._fields, rows)
    for row in rows:
        print(f"{row.weights:6} {row.processor:9} {row.flags}:", _figures(row))
    print(json.dumps(_ratios(rows), sort_keys=True))


def _figures(row: SizeRow) -> str:
    if row.ms_an_image is not None:
        return f"{row.ms_an_image:.2f} ms an image"
    return f"{row.flash_bytes} B flash, {row.ram_bytes} B RAM, {row.stack_bytes} B stack"


def _ratios(rows: list[SizeRow]) -> dict[str, float]:
    """Return packed over int8 in each figure that tells them apart."""
    figures = {
        (row.weights, row.processor, row.flags): row.flash_bytes or row.ms_an_image for row in rows
    }
    return {
        f"{processor} {flags}": round(figures["packed", processor, flags] / value, 3)
        for (weights, processor, flags), value in figures.items()
        if weights == "int8"
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what the C of a network takes.")
    parser.add_argument("--network", type=Path, help="an integer network's file",
                        default=ROOT / "results/cifar10-jpeg/shift.safetensors")  # fmt: skip
    parser.add_argument("--images", type=int, default=40, help="a turn")
    parser.add_argument("--turns", type=int, default=5, help="how often")
    parser.add_argument("--keep", type=Path, nargs="?", metavar="FILE",
                        const=ROOT / "docs/c_size.csv",
                        help="write docs/c_size.csv, or FILE")  # fmt: skip
    return parser.parse_args()


def measure(options: argparse.Namespace, scratch: Path) -> list[SizeRow]:
    """Build and run both forms.

    Raises:
        ValueError: where there is no turn or image, no such network, or a compiler is missing.
    """
    for name in ("images", "turns"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} = {getattr(options, name)}: must be 1 or more")
    network = IntegerNetwork.load(options.network)
    for form, packed in FORMS.items():
        (scratch / form).mkdir()
        for name, text in sources(network, steps_of(network), packed=packed).items():
            (scratch / form / name).write_bytes(text)
    try:
        return list(_rows(network, options, scratch))
    except (SkippedError, programs.ToolError) as error:
        raise ValueError(f"{error}; see the list of tools in .ci/run") from None


def _rows(network: IntegerNetwork, options: argparse.Namespace, scratch: Path) -> Iterator[SizeRow]:
    for processor in ("cortex-m4", "rv32imc"):
        target = cross.TARGETS[processor]
        for form in FORMS:
            size = cross.measure(scratch / form, target)
            version = cross.version(target.compiler[0])
            yield SizeRow(network.scheme, form, processor, "-Os", version, *size, None)
    for (form, flag), milliseconds in _times(network, options, scratch).items():
        version, none = cross.version("gcc"), (None, None, None)
        yield SizeRow(network.scheme, form, platform.machine(), flag, version, *none, milliseconds)


def _times(
    network: IntegerNetwork, options: argparse.Namespace, scratch: Path
) -> dict[tuple[str, str], float]:
    """Return the milliseconds of an image in each form by each flag."""
    shape = (options.images, *network.input.shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8).tobytes()
    runs = {
        (form, flag): programs.compile_c(scratch / form, scratch / (form + flag), "gcc", (flag,))
        for flag in ("-O3", "-Os")
        for form in FORMS
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(options.turns):
        for key, program in runs.items():
            started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            programs.run_tool([str(program)], pixels)
            ended = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            seconds[key].append(ended - started)
    scale = 1000 / options.images
    return {key: round(statistics.median(taken) * scale, 3) for key, taken in seconds.items()}


if __name__ == "__main__":
    main()
