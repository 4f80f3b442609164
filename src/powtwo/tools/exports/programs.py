"""The C compiler and Icarus Verilog, run on an export's files; each says when it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
FAST = ("-O3",)  # the dot product becomes vectors: ten times as fast as -O2 under gcc 12
BATCH = 100  # images a process
SECONDS = 600  # for one command


class SkippedError(RuntimeError):
    """A check that cannot be made here, and why."""


class MissingToolError(SkippedError):
    """A program or package that a check needs is not installed."""


class ToolError(RuntimeError):
    """A program failed on an export's files, which it should read."""


def find(*names: str) -> str:
    """Return the path of the first program of these that is there.

    Raises:
        MissingToolError: where none is.
    """
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise MissingToolError(f"{' or '.join(names)} is not installed")


def compile_c(
    folder: Path, program: Path, compiler: str | None = None, flags: Sequence[str] = FAST
) -> Path:
    """Compile `network.c` and `main.c` of a folder, every warning an error.

    Args:
        folder: where the sources lie.
        program: the executable to write.
        compiler: its name; the first of cc, gcc and clang by default.
        flags: beside `STRICT`.

    Raises:
        MissingToolError: where there is no such compiler.
        ToolError: where it refuses the sources.
    """
    cc = find(compiler) if compiler else find("cc", "gcc", "clang")
    sources = [str(folder / name) for name in ("network.c", "main.c")]
    _run([cc, *STRICT, *flags, *sources, "-o", str(program)])
    return program


def run_c(program: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return the logits (N, classes) that the compiled program prints for uint8 (N, C, H, W)."""
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        printed = pool.map(partial(_logits, program), batches)
        return np.concatenate(list(printed))


def _logits(program: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    lines = _run([str(program)], pixels.tobytes()).splitlines()
    return np.array([line.split() for line in lines]).astype(np.int64)


def simulate(
    bench: Iterable[Path], folder: Path, about: dict[str, Any], index: int, images: int = 1
) -> str:
    """Run one layer in Icarus Verilog, from nothing but the manifest and the memory images.

    Args:
        bench: `layer_tb.v` and `requantize.v`.
        folder: of the export.
        about: its manifest.
        index: of a layer that computes.
        images: golden images to run.

    Returns:
        The bench's last line: "… words equal" or "… words differ".

    Raises:
        MissingToolError: where Icarus Verilog is not installed.
        ToolError: where it refuses a source or an image.
    """
    compiler, simulator = find("iverilog"), find("vvp")
    layer = about["layers"][index]
    defined = [f"-Player_tb.{name}={value}" for name, value in _parameters(about, layer, images)]
    sources = [str(path) for path in bench]
    files = [f"+{name}={path}" for name, path in _files(layer)]
    with tempfile.TemporaryDirectory() as scratch:
        program = str(Path(scratch) / "layer.vvp")
        _run([compiler, "-g2005", "-s", "layer_tb", *defined, "-o", program, *sources])
        # Run where the files are: the bench keeps 256 characters of a name.
        return _last_line(_run([simulator, "-n", program, *files], folder=folder))


def _parameters(
    about: dict[str, Any], layer: dict[str, Any], images: int
) -> Iterable[tuple[str, int]]:
    given, made = ([*layer[f"{side}_shape"], 1, 1][:3] for side in ("input", "output"))
    yield from zip(("CHANNELS", "HEIGHT", "WIDTH"), given, strict=True)
    yield from zip(("OUT_CHANNELS", "OUT_HEIGHT", "OUT_WIDTH"), made, strict=True)
    yield "IMAGES", about["memory"]["golden_images"]
    yield "SIMULATED", images
    for name, default in (("kernel", 1), ("stride", 1), ("padding", 0)):
        yield name.upper(), layer.get(name, default)
    yield "INPUT_ZERO_POINT", layer["input_zero_point"]
    yield "RELU", int(layer["relu"])
    yield "HALF_EVEN", int(about["rounding"] == "half_even")
    yield "INT32", int(layer["output"] == "int32")
    if layer["output"] == "codes":
        yield "OUTPUT_ZERO_POINT", layer["output_zero_point"]
        yield "OUTPUT_MAX", 2 ** layer["output_bits"] - 1
        yield "SHIFT", 0 if isinstance(layer["shift"], list) else layer["shift"]


def _files(layer: dict[str, Any]) -> Iterable[tuple[str, str]]:
    memory = layer["memory"]
    yield "input", memory["input"]
    yield "golden", memory["output"]["file"]
    for role in ("weight", "bias", "shift"):
        if role in memory:
            yield role, memory[role]["file"]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["nothing printed"]
    if "WARNING" in text or "ERROR" in text:
        raise ToolError(lines[0])
    return lines[-1]


def _run(command: Sequence[str], given: bytes = b"", folder: Path | None = None) -> str:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, check=False, timeout=SECONDS, cwd=folder
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"{name}: took more than {SECONDS} seconds") from None
    text = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        lines = [line for line in text.splitlines() if "error" in line.lower()] or [text]
        raise ToolError(f"{name}: {lines[0].strip() or f'exit code {done.returncode}'}")
    return text
