"""The C of an export for other processors: what it takes there, and what it gives under qemu."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from powtwo.tools.exports.programs import find, run_tool

SMALL = ("-std=c99", "-Os", "-ffreestanding", "-Wall", "-Wextra", "-Werror")
ALONE = ("-nostdlib", "-static", "-Wl,--no-relax")  # nothing sets the pointer that relaxing needs
HARNESS = Path(__file__).with_name("freestanding.c")


@dataclass(frozen=True)
class Target:
    """A processor: its compiler and the emulator of its programs."""

    compiler: tuple[str, ...]
    emulator: str
    byte_order: str = "<"


TARGETS = {
    "cortex-m4": Target(("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"), "qemu-arm"),
    "rv32imc": Target(("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32"), "qemu-riscv32"),
    "powerpc": Target(  # the highest byte of a word first
        ("clang", "--target=powerpc-linux-gnu", "-fuse-ld=lld"), "qemu-ppc", ">"
    ),
}


class Size(NamedTuple):
    """What `network.c` takes, in bytes, the caller's image and logits not counted."""

    flash: int  # code and constants
    ram: int
    stack: int  # no more than this: the frames of all functions


def version(gcc: str) -> str:
    """Return the version of a gcc.

    Raises:
        SkippedError: where it is not installed.
    """
    return run_tool([find(gcc), "-dumpfullversion"]).decode().strip()


def measure(folder: Path, target: Target) -> Size:
    """Compile `network.c` of a folder with gcc for size.

    Raises:
        SkippedError: where the compiler is not installed.
        ToolError: where it refuses the source.
    """
    compiler, *flags = target.compiler
    with tempfile.TemporaryDirectory() as scratch:
        built, source = Path(scratch) / "network.o", str(folder / "network.c")
        command = [find(compiler), *flags, *SMALL, "-fstack-usage", "-c", source, "-o", str(built)]
        run_tool(command)
        listed = run_tool([find(compiler.replace("gcc", "size")), str(built)]).decode()
        frames = built.with_suffix(".su").read_text(encoding="utf-8").splitlines()
    text, data, bss = map(int, listed.splitlines()[1].split()[:3])
    stack = sum(int(line.split("\t")[1]) for line in frames)
    return Size(text + data, data + bss, stack)


def emulate(
    folder: Path, manifest: dict[str, Any], target: Target, pixels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.int32]:
    """Return the logits (N, classes) of an export's C on another processor.

    Args:
        folder: the export.
        manifest: its manifest.
        target: the processor.
        pixels: uint8 (N, C, H, W).

    Raises:
        SkippedError: where the compiler or the emulator is not installed.
        ToolError: where one of them refuses.
    """
    compiler, *flags = target.compiler
    values = {
        "RUN": f"{manifest['c99']['prefix']}_run",
        "PIXELS": prod(manifest["input"]["shape"]),
        "LOGITS": prod(manifest["layers"][-1]["output_shape"]),
    }
    with tempfile.TemporaryDirectory() as scratch:
        program = str(Path(scratch) / "network")
        command = [find(compiler), *flags, *SMALL, *_defined(values), *ALONE]
        emulator = find(target.emulator, f"{target.emulator}-static")
        run_tool([*command, str(folder / "network.c"), str(HARNESS), "-o", program])
        printed = run_tool([emulator, program], pixels.tobytes())
    logits = np.frombuffer(printed, f"{target.byte_order}i4").astype(np.int32)
    return logits.reshape(len(pixels), -1)


def _defined(values: dict[str, Any]) -> Sequence[str]:
    return [f"-D{name}={value}" for name, value in values.items()]
